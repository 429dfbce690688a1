"""The model as an initialisation for other tasks."""
