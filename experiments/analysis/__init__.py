"""What run files say: the papers' tables, judgements of their claims, and further tables."""
