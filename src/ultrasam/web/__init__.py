"""A static page that segments in the browser; its files are in the folder `site`."""
