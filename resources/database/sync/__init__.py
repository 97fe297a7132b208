"""What the sync reads from and writes to the database."""
