"""The monthly report. Averages do not belong here: they are read from the views."""
