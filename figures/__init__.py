"""Run files in, pictures and a report out."""
