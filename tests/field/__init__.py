"""What went wrong at users', and the right value."""
