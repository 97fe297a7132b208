"""The command `asleep-sync`."""
