"""What `demo` and `dev` start on this machine: the embedded Postgres and the simulated API."""
