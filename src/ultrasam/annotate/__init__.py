"""The annotator: label ultrasound images, cines and volumes in a browser."""
