"""The table of methods, which command lines, tests, benchmark, documentation and result tables use.

A normalization is added as a line of the table: composed of the rules imported below, or with a rule of its own, which
is written beside them in `rules.py`. `plugins.register` adds one without editing the package.
"""

import re
from typing import Any, NamedTuple

from ilnrepro.errors import InputError
from ilnrepro.norms.gates import CLAMPED, CLIP, PROJECTED, SIGMOID, SOFTMAX, UNCLAMPED
from ilnrepro.norms.rules import BATCH, INSTANCE, LAYER, Cascade, Identity, Mix, Renormalize, Switch, group


class Method(NamedTuple):
    """A row of the table.

    Attributes:
      title: the name that the papers print.
      rule: see `rules`; for a name with `<G>`, a function from G to the rule.
      description: a few words.
      plugin: checksum of the file that registered the method; '' for the package's own methods.
    """

    title: str
    rule: Any
    description: str
    plugin: str = ""


METHODS: dict[str, Method] = {
    "none": Method("None", Identity(), "no normalization"),
    "bn": Method("BN", BATCH, "batch normalization"),
    "in": Method("IN", INSTANCE, "instance normalization"),
    "ln": Method("LN", LAYER, "layer normalization"),
    "gn<G>": Method("GN<G>", group, "group normalization in G groups: gn4, gn16, ..."),
    "brn": Method("BRN", Renormalize(), "batch renormalization: BN with the corrections r and d towards its averages"),
    "sn": Method("SN", Switch(), "switchable normalization: moments of IN, LN and BN by two softmaxes"),
    "bin": Method("BIN", Mix(CLIP, BATCH, INSTANCE), "batch-instance normalization, gate clipped in the forward pass"),
    "bin-projected": Method("BIN projected", Mix(PROJECTED, BATCH, INSTANCE),
                            "BIN as its authors train it: a gate a channel, projected to [0, 1], at tenfold rate"),
    "clip": Method("Clip", Mix(CLIP, INSTANCE, LAYER), "IN and LN by Clip(ρ), no GN after"),
    "sigmoid": Method("Sigmoid", Mix(SIGMOID, INSTANCE, LAYER), "IN and LN by Sigmoid(ρ), no GN after"),
    "softmax": Method("Softmax", Mix(SOFTMAX, INSTANCE, LAYER), "IN and LN by Softmax(ρ₁, ρ₂), no GN after"),
    "iln": Method("ILN", Cascade(Mix(SIGMOID, INSTANCE, LAYER), group(16)), "IN and LN by Sigmoid(ρ), then GN16"),
    "iln<G>": Method("ILN<G>", lambda g: Cascade(Mix(SIGMOID, INSTANCE, LAYER), group(g)),
                     "the same with G groups after: iln4, iln8, ..."),
    "iln-clamped": Method("ILN clamped", Mix(CLAMPED, INSTANCE, LAYER),
                          "IN and LN by a ρ a channel from 0, clamped to [0, 1], no GN after"),
    "iln-unclamped": Method("ILN unclamped", Mix(UNCLAMPED, INSTANCE, LAYER), "the same, never clamped"),
}


def method(name: str) -> Method:
    """The row of the table for a method's name, a number in the place of `<G>`.

    Raises:
      InputError: there is no such method.
    """
    if name in METHODS and "<G>" not in name:
        return METHODS[name]
    match = re.fullmatch(r"(.*?)([1-9][0-9]*)", name)
    row = match and METHODS.get(f"{match[1]}<G>")
    if not row:
        raise InputError(f"method: {name!r} is unknown; choose one of {', '.join(METHODS)} (a number for <G>), or give "
                         "the file that registers it with --plugin")
    number = match[2]
    description = row.description.replace(" G ", f" {number} ")
    return Method(row.title.replace("<G>", number), row.rule(int(number)), description, row.plugin)
