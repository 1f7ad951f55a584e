"""From run files to records: which runs there are, and what each scored."""

import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ilnrepro.comparison.planning import Job
from ilnrepro.errors import InputError
from ilnrepro.ops.metrics import intersection_over_union
from ilnrepro.protocols import Configuration
from ilnrepro.storage import verification


@dataclass(frozen=True)
class Record:
    """What tables need of one run file.

    Attributes (of some):
      dice, subject: per test image; empty for a diverged run.
      measures: per test image, 'dice', 'iou', 'truth_pixels', 'predicted_pixels', and where the run measured them
        'hd95' and 'assd'.
      site: of each test image, where the data set tells it.
      rho: the gates' ρ at the end of training, `[layers, numbers]`; channels: of their layers.
      computed_by: kernels and libraries, on which the last bits depend.
      further: whether it is at a rate beyond the paper's, which the paper's own rule of choice leaves out.
    """

    path: Path
    configuration: object
    status: str
    title: str
    synthetic: bool
    dice: np.ndarray
    subject: np.ndarray
    both_empty: int
    parameters: int
    measures: dict = field(default_factory=dict)
    rho: np.ndarray = None
    channels: tuple = ()
    site: np.ndarray = None
    computed_by: str = ""
    further: bool = False

    @property
    def score(self):
        """Mean DSC over the test images; 0 for a diverged run, which segments nothing."""
        return float(self.dice.mean()) if len(self.dice) else 0.0


def collect(results, protocol=None, datasets=None, variant="", methods=None, folds=None, rates=None, seeds=None):
    """The records of all run files below `results` that fit, for one protocol and one data set a structure.

    Args:
      protocol, datasets: names; None takes what is there, if that is only one (data set: one a structure).
      variant: what differs from the protocol's defaults, as in the runs' paths; '' for nothing.
      methods, folds, rates, seeds: keep only these; None keeps all.

    Raises:
      InputError: no run files, or an ambiguous choice; damaged or stale run files, all of which it names.
    """
    paths = sorted(Path(results).glob("runs/*/*/*/*.h5"))
    wanted = [p for p in paths if (protocol is None or p.parts[-3] == protocol)
              and (datasets is None or p.parts[-4] in datasets)
              and (p.parts[-2].partition("+")[1:] == (("+", variant[1:]) if variant else ("", "")))]
    if not wanted:
        there = sorted({"/".join(p.parts[-4:-1]) for p in paths})
        raise InputError(f"{results}: no run files fit (protocol {protocol or 'any'}, data sets "
                         f"{', '.join(datasets or ['any'])}, changes {variant or 'none'}); " + (
                             f"there are {', '.join(there)}: choose among them, what follows a '+' by the "
                             "options that changed it" if there else "do some first"))
    names = sorted({p.parts[-3] for p in wanted})
    if len(names) > 1:
        raise InputError(f"{results}: runs of several protocols ({', '.join(names)}); choose one with --protocol")
    records = _records(wanted, Path(results))
    by_structure = {}
    for record in records:
        by_structure.setdefault(record.configuration.structure, set()).add(record.configuration.dataset)
    for structure, found in by_structure.items():
        if len(found) > 1:
            raise InputError(f"{results}: runs on several data sets of {structure} ({', '.join(sorted(found))}); "
                             "choose one with --data FILE.h5")

    def fits(c):
        return ((methods is None or c.method in methods) and (folds is None or c.fold in folds)
                and (rates is None or c.rate in rates) and (seeds is None or c.seed in seeds))

    if not (kept := [record for record in records if fits(record.configuration)]):
        raise InputError(f"{results}: no run files of these methods, folds, rates and seeds; choose others")
    return kept


def _records(paths, results):
    records, refused, contents = [], [], {}
    for path in paths:
        run, kind, text = verification.examine(path, results)
        if kind is None:
            records.append(_record(path, run))
            data = contents.setdefault(run.configuration.dataset, {})
            data.setdefault(run.configuration.dataset_checksum, []).append(path)
        else:
            refused.append((path, f"{kind}: {text}"))
    for name, groups in contents.items():
        for others in sorted(groups.values(), key=len)[:-1]:
            refused += [(path, f"stale: on another content of the data set {name} than most: move it away and run it "
                               "again") for path in others]
    if refused:
        raise InputError(_refusal(refused, results))
    return records


def _refusal(refused, results):
    """What is wrong with which run files, and the commands that do their runs again."""
    lines = [f"{results}: {len(refused)} run file(s) cannot be used", *(f"  {path}: {text}" for path, text in refused)]
    lines.append("move the stale ones away, then give the command that made them again, or these:")
    for path, _ in refused:
        try:
            configuration = Configuration.from_path(path)
        except (InputError, ValueError):
            continue
        job = Job(configuration, Path(f"{configuration.dataset}.h5"), 0)
        lines.append(f"  {shlex.join([*job.command, '--results', str(results)])}")
    return "\n".join(lines)


def _record(path, run):
    further = dict(rho=run.rho[-1], channels=tuple(run.channels)) if run.layers else {}
    further["computed_by"] = _computed_by(run.provenance)
    same = (path, run.configuration, run.status, run.title, run.synthetic)
    if not run.test:
        return Record(*same, np.zeros(0), np.zeros(0, str), 0, run.parameters, **further)
    pixels = [run.test[key] for key in ("truth_pixels", "predicted_pixels", "common_pixels")]
    measures = {"dice": run.dice, "iou": intersection_over_union(*pixels), "truth_pixels": pixels[0],
                "predicted_pixels": pixels[1],
                **{key: run.test[key] for key in ("hd95", "assd") if key in run.test}}
    return Record(*same, run.dice, run.test["subject"], run.both_empty, run.parameters, measures, **further,
                  site=run.test.get("site"))


def _computed_by(provenance):
    kernels = f"{provenance['kernels']} kernels" + (", XLA" if provenance.get("xla") else "")
    if "onednn" not in provenance:
        return f"{kernels}, instruction set and oneDNN not recorded"
    compiled = "" if provenance["instruction_set"] == "none" else f" for {provenance['instruction_set']}"
    convolutions = ", native convolutions" if provenance.get("convolutions") == "native" else ""
    return f"{kernels}{compiled}{convolutions}, oneDNN {'on' if provenance['onednn'] else 'off'}"


def about_rounding(records):
    """What computed the runs, where that differs among them; else nothing. It is rounding, and no protocol."""
    counts = Counter(r.computed_by for r in records)
    if len(counts) < 2:
        return ""
    return ("The runs differ in what rounds their last bits: "
            + "; ".join(f"{what} ({count} run{'s'[:count > 1]})" for what, count in sorted(counts.items())) + ".")
