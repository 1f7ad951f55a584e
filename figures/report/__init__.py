"""The report: one HTML file that needs no other, made from run files alone."""
