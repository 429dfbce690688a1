"""Region classification: the class of what a prompt points at."""
