"""The service: webhooks in, a small read API, health. Does not belong here: Dagster, SQL, calls to the Asleep API."""
