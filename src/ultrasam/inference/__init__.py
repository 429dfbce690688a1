"""From a scan and prompts to masks."""
