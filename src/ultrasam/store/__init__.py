"""Raw data made one indexed store with patient-level splits."""
