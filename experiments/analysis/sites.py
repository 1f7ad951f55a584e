"""Dice on the images of each site, by the sites that a network was trained on and by its class masks."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ilnrepro.comparison.choice import cells
from ilnrepro.comparison.differences import compare, fold_scores, interval
from ilnrepro.comparison.scores import collect
from ilnrepro.errors import InputError
from ilnrepro.protocols import protocol

# The names of the class masks (`Protocol.class_mask`) in tables and figures.
MODES = {"none": "baseline", "predicted": "predicted mask", "oracle": "oracle mask"}


class Group(NamedTuple):
    """The runs of one mode, trained on one site or on all ('')."""

    trained_on: str
    mode: str
    records: list


def groups(results, name, datasets=None, **changes):
    """The `Group`s in a results folder, of all modes and training sites.

    Args:
      results: the folder.
      name: of the protocol.
      datasets: names; None takes all.
      changes: of the protocol's defaults.

    Raises:
      InputError: there is no such group; or as `scores.collect`.
    """
    present = []
    for variant in {path.name.partition("+")[2] for path in Path(results).glob(f"runs/*/{name}/*")
                    if datasets is None or path.parts[-3] in datasets}:
        records = collect(results, name, datasets, f"+{variant}" if variant else "")
        p = records[0].configuration.protocol
        if protocol(name, **{**changes, "class_mask": p.class_mask, "site": p.site}) == p:
            present.append(Group(p.site, p.class_mask, records))
    if not present:
        raise InputError(f"{results}: no such runs of protocol {name}; do them first")
    return sorted(present, key=lambda group: (group.trained_on, list(MODES).index(group.mode)))


def rows(groups):
    """Tidy rows of some `Group`s: Dice on the test images of each site, by training site and mode."""
    tidy = []
    tested = {(r.configuration.structure, r.configuration.fold): r for group in groups for r in group.records
              if len(r.dice)}
    baselines = {(group.trained_on, key): cell for group in groups if group.mode == "none"
                 for key, cell in cells(group.records, "test").items()}
    for group in groups:
        for key, cell in sorted(cells(group.records, "test").items()):
            example, baseline = tested[key[1:]], baselines.get((group.trained_on, key))
            for site in (*sorted(set(example.site)), "all"):
                others = [] if site == "all" else np.unique(example.subject[example.site != site])
                scores, base = (c and fold_scores(c, example.subject, omit=others) for c in (cell, baseline))
                mean, low, high = interval([scores])
                row = {"trained_on": group.trained_on or "all", "mode": group.mode, "method": key[0], "fold": cell.name,
                       "rate": cell.rate, "seeds": len(scores.seeds), "status": " ".join(sorted({
                           r.status for r in cell.records})), "parameters": cell.records[0].parameters, "site": site,
                       "images": scores.by_image.shape[1], "subjects": len(scores.subjects),
                       "dice": float(scores.by_image.mean()), "std": float(scores.by_image.std()),
                       "dice_subjects": mean, "dice_low": low, "dice_high": high,
                       "difference": None, "low": None, "high": None}
                if base and group.mode != "none":
                    c = compare([scores], [base], (group.mode, "none"))
                    row |= {"difference": c.difference, "low": c.low, "high": c.high}
                tidy.append(row)
    return tidy
