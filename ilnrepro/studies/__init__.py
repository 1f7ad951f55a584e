"""From somebody's data to an answer and a model: comparisons that end with one, networks trained on all subjects."""
