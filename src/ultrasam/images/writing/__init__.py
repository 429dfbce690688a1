"""Write masks, label maps and overlays."""
