"""From webhook events to rows."""
