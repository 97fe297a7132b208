"""The Asleep API: HTTP, classification of responses, parsing, records."""
