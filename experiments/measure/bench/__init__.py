"""The benchmark of normalizations: their cost against none, against the literal equations, and in other frameworks."""
