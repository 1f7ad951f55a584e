"""The papers' runs: doing them, in grids, stages and recipes, and writing their tables."""
