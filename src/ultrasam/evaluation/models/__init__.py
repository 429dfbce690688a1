"""Models to evaluate: UltraSam's own, reference implementations, baselines and plug-ins."""
