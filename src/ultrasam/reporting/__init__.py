"""Building blocks of all reports: tables, plots, Markdown and HTML."""
