"""Programs for the development of the project; `make` runs them. They are not part of the distribution."""
