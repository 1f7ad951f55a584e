"""The figures and the report, made from run files."""
