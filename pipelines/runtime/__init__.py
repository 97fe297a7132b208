"""What runs need from Dagster beyond its defaults: executors, launcher, pauses, retention."""
