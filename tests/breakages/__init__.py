"""Small breakages of the code, each with the tests that catch it: what a suite must still notice when slimmed."""
