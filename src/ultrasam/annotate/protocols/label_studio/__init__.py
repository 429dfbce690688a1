"""Label Studio's protocol of ML backends: its clicks and boxes become brushes, polygons or rectangles."""
