"""Protocol, metrics and baselines."""
