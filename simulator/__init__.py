"""A stand-in Asleep API for demos, tests and benchmarks. It imports none of our packages, none imports it."""
