"""Records of runs: the scores in the run files of a results folder."""

import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ilnrepro.comparison.planning import Job
from ilnrepro.errors import InputError
from ilnrepro.ops.metrics import dice, intersection_over_union
from ilnrepro.protocols import Configuration
from ilnrepro.storage import own_resolution, verification


@dataclass(frozen=True)
class Record:
    """The part of one run file that tables need.

    Attributes:
      path: of the run file.
      configuration: its `Configuration`.
      status: 'complete', 'collapsed' or 'diverged'.
      title, synthetic: of the data set.
      dice, subject: of each test image, `[n]`; empty for a diverged run.
      both_empty: number of test images whose true and predicted masks are both empty.
      parameters: number of trainable parameters.
      measures: {name: `[n]`} with 'dice', 'iou', 'truth_pixels', 'predicted_pixels'; 'hd95', 'assd', 'hd95_mm' and
        'assd_mm' where the run measured them; and where masks are smaller than the data set's, 'whole_dice' at the data
        set's own resolution if the counts are known.
      rho: ρ of the gates at the end of training, `[layers, numbers]`; None where there are none.
      channels: of the gated layers.
      site: of each test image, `[n]`; None where the data set has no sites.
      computed_by: text on kernels and libraries, on which the last bits of the scores depend.
      shape: of a mask; () for a diverged run.
      further: whether its rate is beyond the paper's; the paper's own rule of choice leaves such runs out.
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
    shape: tuple = ()
    further: bool = False

    @property
    def score(self):
        """Mean DSC over the test images; 0 for a diverged run, which segments nothing."""
        return float(self.dice.mean()) if len(self.dice) else 0.0


def collect(results, protocol=None, datasets=None, variant="", methods=None, folds=None, rates=None, seeds=None):
    """The records of the run files below `results` that match, of one protocol and of one data set for each structure.

    Args:
      protocol: its name; None takes the only one in the folder.
      datasets: their names; None takes the only one of each structure.
      variant: the changes of the protocol's defaults as in the runs' paths; '' for none.
      methods, folds, rates, seeds: keep only these; None keeps all.

    Raises:
      InputError: no run files match; several protocols or data sets do; run files are damaged or stale, and the message
        names all of them.
    """
    paths = sorted(Path(results).glob("runs/*/*/*/*.h5"))
    selected = [p for p in paths if (protocol is None or p.parts[-3] == protocol)
                and (datasets is None or p.parts[-4] in datasets)
                and (p.parts[-2].partition("+")[1:] == (("+", variant[1:]) if variant else ("", "")))]
    if not selected:
        present = sorted({"/".join(p.parts[-4:-1]) for p in paths})
        raise InputError(f"{results}: no run files fit (protocol {protocol or 'any'}, data sets "
                         f"{', '.join(datasets or ['any'])}, changes {variant or 'none'}); " + (
                             f"there are {', '.join(present)}: choose among them, what follows a '+' by the "
                             "options that changed it" if present else "do some first"))
    names = sorted({p.parts[-3] for p in selected})
    if len(names) > 1:
        raise InputError(f"{results}: runs of several protocols ({', '.join(names)}); choose one with --protocol")

    def matches(c):
        return ((methods is None or c.method in methods) and (folds is None or c.fold in folds)
                and (rates is None or c.rate in rates) and (seeds is None or c.seed in seeds))

    def may_match(path):
        try:
            return matches(Configuration.from_path(path))
        except (InputError, ValueError):  # a protocol that no longer exists: the file itself tells
            return True

    records = [r for r in _records(list(filter(may_match, selected)), Path(results)) if matches(r.configuration)]
    if not records:
        raise InputError(f"{results}: no run files of these methods, folds, rates and seeds; choose others")
    by_structure = {}
    for record in records:
        by_structure.setdefault(record.configuration.structure, set()).add(record.configuration.dataset)
    for structure, sets in by_structure.items():
        if len(sets) > 1:
            raise InputError(f"{results}: runs on several data sets of {structure} ({', '.join(sorted(sets))}); "
                             "choose one with --data FILE.h5")
    return records


def _records(paths, results):
    records, refused, contents, counts = [], [], {}, own_resolution.read(results)
    for path in paths:
        run, kind, text = verification.examine(path, results)
        if kind is None:
            records.append(_record(path, run, counts))
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
    """The message that names the unusable run files, their faults, and the commands that do their runs again."""
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


def _record(path, run, counts):
    optional = dict(rho=run.rho[-1], channels=tuple(run.channels)) if run.layers else {}
    optional["computed_by"] = _computed_by(run.provenance)
    common = (path, run.configuration, run.status, run.title, run.synthetic)
    if not run.test:
        return Record(*common, np.zeros(0), np.zeros(0, str), 0, run.parameters, **optional)
    pixels = [run.test[key] for key in ("truth_pixels", "predicted_pixels", "common_pixels")]
    measures = {"dice": run.dice, "iou": intersection_over_union(*pixels), "truth_pixels": pixels[0],
                "predicted_pixels": pixels[1],
                **{key: run.test[key] for key in ("hd95", "assd", "hd95_mm", "assd_mm") if key in run.test}}
    if run.configuration.protocol.shrink > 1 and (whole := own_resolution.counts_of(run, counts)):
        measures["whole_dice"] = dice(*(whole[name] for name in own_resolution.COUNTS))
    return Record(*common, run.dice, run.test["subject"], run.both_empty, run.parameters, measures, **optional,
                  site=run.test.get("site"), shape=run.masks.shape[1:])


def _computed_by(provenance):
    kernels = f"{provenance['kernels']} kernels" + (", XLA" if provenance.get("xla") else "")
    if "onednn" not in provenance:
        return f"{kernels}, instruction set and oneDNN not recorded"
    compiled = "" if provenance["instruction_set"] == "none" else f" for {provenance['instruction_set']}"
    convolutions = ", native convolutions" if provenance.get("convolutions") == "native" else ""
    return f"{kernels}{compiled}{convolutions}, oneDNN {'on' if provenance['onednn'] else 'off'}"


def about_rounding(records):
    """A sentence on the kernels and libraries that computed the runs, where these differ; else ''.

    They change the rounding of the last bits and are no part of the protocol.
    """
    counts = Counter(r.computed_by for r in records)
    if len(counts) < 2:
        return ""
    return ("The runs differ in what rounds their last bits: "
            + "; ".join(f"{what} ({count} run{'s'[:count > 1]})" for what, count in sorted(counts.items())) + ".")
