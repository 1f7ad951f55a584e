"""One run: the training of a network and its test."""
