"""How well masks agree, and how sure that is."""
