"""Remove identity from files: text around the scanned sector, and what a DICOM header says of people."""
