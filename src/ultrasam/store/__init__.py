"""The store: what data sets are built into and what everything else reads."""
