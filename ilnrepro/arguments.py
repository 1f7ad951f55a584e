"""The options that several command lines share: their types, and the options that change a protocol."""

import argparse
import math
from collections.abc import Callable

from ilnrepro.errors import InputError
from ilnrepro.protocols import PROTOCOLS, VARIANTS, protocol, variant_type


def integer(minimum: int) -> Callable[[str], int]:
    """The argparse type of whole numbers from `minimum` on."""

    def convert(text):
        if not text.lstrip("-").isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} cannot be used; give a whole number from {minimum}")
        return int(text)

    return convert


def seconds(text: str) -> float:
    """The argparse type of times: a number of seconds, 0 or more."""
    try:
        if 0 <= (value := float(text)) < math.inf:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} cannot be used; give seconds, 0 or more")


def add_variants(parser):
    """Adds to a parser an option for each field of the protocol that a run may change."""
    group = parser.add_argument_group("what may differ from the protocol's defaults")
    for key in VARIANTS:
        kind = variant_type(key)
        group.add_argument(f"--{key.replace('_', '-')}", type=kind, metavar=kind.__name__.upper(),
                           **({"nargs": "?", "const": "on"} if key == "xla" else {}))


def variants(arguments):
    """{field: value} of the protocol's fields that the options of `add_variants` change."""
    return {key: getattr(arguments, key) for key in VARIANTS if getattr(arguments, key) is not None}


def variant(arguments):
    """The part of a run's path for the changes by the options of `add_variants`, as '+eps1e-12'; or ''.

    Raises:
      InputError: the protocol is unknown, or there are changes without a protocol.
    """
    changes = variants(arguments)
    if arguments.protocol is None:
        if changes:
            raise InputError(f"--{next(iter(changes)).replace('_', '-')}: say from which protocol that differs; add "
                             f"--protocol, one of {', '.join(PROTOCOLS)}")
        return ""
    return protocol(arguments.protocol, **changes).variant
