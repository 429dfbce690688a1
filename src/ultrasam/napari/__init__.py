"""A plug-in of napari: label with UltraSam through an annotator's server, of this machine or another."""
