"""DICOMweb (PS3.18): search a server for ultrasound, retrieve it, and store what was made of it."""
