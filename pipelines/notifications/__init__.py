"""Messages to people and monitors: failed runs, silence, signs of life."""
