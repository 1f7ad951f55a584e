"""Training a network and testing it: one run."""
