"""Responses of the API as records."""
