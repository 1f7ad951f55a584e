"""What several command lines share: types of options, and the options that change a protocol."""

import argparse
import math
from collections.abc import Callable

from ilnrepro.errors import InputError
from ilnrepro.protocols import PROTOCOLS, VARIANTS, protocol, variant_type


def integer(minimum: int) -> Callable[[str], int]:
    """What argparse makes an option's text with: a whole number from `minimum`."""

    def convert(text):
        if not text.lstrip("-").isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} cannot be used; give a whole number from {minimum}")
        return int(text)

    return convert


def seconds(text: str) -> float:
    """What argparse makes an option's text with: a number of seconds from 0."""
    try:
        if 0 <= (value := float(text)) < math.inf:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} cannot be used; give seconds, 0 or more")


def add_variants(to):
    """Adds one option for each field of the protocol that a run may change."""
    group = to.add_argument_group("what may differ from the protocol's defaults")
    for key in VARIANTS:
        kind = variant_type(key)
        group.add_argument(f"--{key.replace('_', '-')}", type=kind, metavar=kind.__name__.upper(),
                           **({"nargs": "?", "const": "on"} if key == "xla" else {}))


def variants(arguments):
    """The fields of the protocol that the options of `add_variants` change."""
    return {key: getattr(arguments, key) for key in VARIANTS if getattr(arguments, key) is not None}


def variant(arguments):
    """What the options of `add_variants` make of a run's path: '+eps1e-12', or nothing.

    Raises:
      InputError: unknown protocol; options without one.
    """
    changes = variants(arguments)
    if arguments.protocol is None:
        if changes:
            raise InputError(f"--{next(iter(changes)).replace('_', '-')}: say from which protocol that differs; add "
                             f"--protocol, one of {', '.join(PROTOCOLS)}")
        return ""
    return protocol(arguments.protocol, **changes).variant
