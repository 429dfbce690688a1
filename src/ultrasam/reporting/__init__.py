"""What all reports are made of."""
