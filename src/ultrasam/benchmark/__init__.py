"""How fast a model is on this machine, in each runtime."""
