"""Which data exist, and how one table is derived from another."""
