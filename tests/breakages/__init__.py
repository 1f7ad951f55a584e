"""Small breakages of the code, each with the tests that notice it, so that a slimmed suite can be shown to notice
all."""
