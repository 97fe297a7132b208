"""Real hypnograms as CSV, with their licences."""
