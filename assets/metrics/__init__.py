"""Monthly averages."""
