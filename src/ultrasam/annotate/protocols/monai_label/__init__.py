"""MONAI Label's protocol, as 3D Slicer's and OHIF's plug-ins speak it."""
