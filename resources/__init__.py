"""The OUTSIDE: how we reach the API and the database. Not here: assets, schedules, business rules."""
