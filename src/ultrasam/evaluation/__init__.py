"""Evaluate segmenters: prompts, metrics, baselines and reports."""
