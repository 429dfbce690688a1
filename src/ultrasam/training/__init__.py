"""Train models: engine, data loading, and the promptable task."""
