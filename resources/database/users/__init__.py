"""The registry of users, and their erasure."""
