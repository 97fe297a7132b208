"""The Asleep API: transport, client, records. Not here: table names, Dagster (but for resource.py)."""
