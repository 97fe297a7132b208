"""How we reach what is outside of this process: the Asleep API, Postgres, receivers of notifications."""
