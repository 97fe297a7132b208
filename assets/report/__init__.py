"""The monthly report that people look at. Not here: averages (they are read from the views), delivery."""
