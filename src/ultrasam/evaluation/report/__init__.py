"""Turn results into tables, plots and a page."""
