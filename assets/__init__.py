"""WHAT: which data exists, and how one table follows from another. Not here: HTTP, connections, cron."""
