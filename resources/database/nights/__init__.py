"""Which session belongs to which night."""
