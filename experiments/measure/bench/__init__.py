"""What a normalization costs: against none, against the literal equations, and in other frameworks."""
