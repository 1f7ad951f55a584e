"""The report: one HTML file that holds all it needs, from run files alone."""
