"""WHEN and HOW: jobs, schedules, sensors, commands and the service. Not here: fetching, shaping, SQL."""
