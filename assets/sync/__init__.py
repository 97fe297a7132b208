"""The sync engine: what is requested of the Asleep API and what follows for the tables. It does not import Dagster."""
