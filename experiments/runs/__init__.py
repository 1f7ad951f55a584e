"""Doing the papers' runs."""
