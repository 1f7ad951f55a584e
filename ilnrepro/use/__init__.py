"""The use of trained networks: from images to masks."""
