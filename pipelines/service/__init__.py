"""The service: webhooks in, a small read API, health. Not here: calls to the Asleep API, Dagster, SQL."""
