"""WHEN and HOW: jobs, schedules, sensors, commands and the service. Does not belong here: fetching, shaping, SQL."""
