"""Asking until there is an answer or a reason why not.

Lives here: retries around the gate around one exchange; telling the listeners.  Not here: endpoint names, records.
"""


class Transport:
    """Asks the Asleep API, in turn with all other processes, and repeats what is worth repeating."""
