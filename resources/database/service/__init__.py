"""Tables of the webhook service: inbox, notifications, limits, the read API."""
