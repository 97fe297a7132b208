"""Real hypnograms as CSV, with their licences. Not here: code."""
