"""The annotator's web server: HTTP below ``/v1``, the page, and who may ask for what."""
