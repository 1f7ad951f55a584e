"""The benchmark: what a normalization costs, against none, against the literal equations, and against other frameworks."""
