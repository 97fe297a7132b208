"""Messages that leave this system: notifications and alerts."""
