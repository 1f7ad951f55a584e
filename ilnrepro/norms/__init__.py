"""Normalizations: one mechanism (moments, rule, apply) and a table of methods, each of them a rule."""

from ilnrepro.norms.checking import Check, check
from ilnrepro.norms.layer import FORMS, Normalization
from ilnrepro.norms.methods import METHODS, method
from ilnrepro.norms.plugins import register
from ilnrepro.norms.values import Settings

__all__ = ["FORMS", "METHODS", "Check", "Normalization", "Settings", "check", "method", "register"]
