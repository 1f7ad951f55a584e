"""Normalizations: one mechanism (moments, rule, apply) and a table of methods, each of them a rule."""

from ilnrepro.norms.layer import FORMS, Normalization
from ilnrepro.norms.methods import METHODS, method
from ilnrepro.norms.values import Settings

__all__ = ["FORMS", "METHODS", "Normalization", "Settings", "method"]
