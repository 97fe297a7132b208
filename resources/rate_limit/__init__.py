"""One rate limit and one circuit breaker for all processes that use an API key, kept in one row of Postgres."""
