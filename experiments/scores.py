"""From run files to cells: which runs there are, which learning rate is chosen, and the score that results."""

import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from experiments.grid import Job
from ilnrepro import verification
from ilnrepro.errors import InputError
from ilnrepro.metrics import intersection_over_union
from ilnrepro.protocols import Configuration

# How the learning rate of a fold is chosen.
RULES = {
    "test": "the rate best on the test fold itself (the paper's rule)",
    "cross-fold": "for each fold the rate best on the mean of the other folds",
}


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
                             f"there are {', '.join(there)}: choose among them, what follows a '+' by OPTIONS"
                             if there else "run `make reproduce` first"))
    names = sorted({p.parts[-3] for p in wanted})
    if len(names) > 1:
        raise InputError(f"{results}: runs of several protocols ({', '.join(names)}); choose one with PROTOCOL=")
    records = _records(wanted, Path(results))
    by_structure = {}
    for record in records:
        by_structure.setdefault(record.configuration.structure, set()).add(record.configuration.dataset)
    for structure, found in by_structure.items():
        if len(found) > 1:
            raise InputError(f"{results}: runs on several data sets of {structure} ({', '.join(sorted(found))}); "
                             f"choose one with {'RV' if structure == 'RV' else 'LV'}=FILE.h5")

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


@dataclass(frozen=True)
class Cell:
    """The score of one method on one fold at the chosen rate.

    Attributes:
      dice: per image, pooled over seeds, a run that diverged with 0; empty where every run at the chosen rate did.
      seed_means: mean DSC of each seed's run.
      runs, diverged, collapsed: counts over all rates and seeds of this method and fold.
      chosen: the records at the chosen rate.
    """

    method: str
    structure: str
    fold: int
    rate: float
    dice: np.ndarray
    seed_means: tuple
    runs: int
    diverged: int
    collapsed: int
    chosen: tuple

    @property
    def name(self):
        """'LV-1'."""
        return f"{self.structure}-{self.fold}"

    @property
    def n(self):
        """Test images."""
        return len(self.dice) // max(1, len(self.seed_means))

    @property
    def mean(self):
        """Mean DSC over images (and seeds), or NaN."""
        return float(self.dice.mean()) if len(self.dice) else float("nan")

    @property
    def std(self):
        """Standard deviation of the DSC over images (and seeds), or NaN."""
        return float(self.dice.std()) if len(self.dice) else float("nan")

    @property
    def seed_sd(self):
        """Standard deviation of the seeds' means, or NaN for a single seed."""
        return float(np.std(self.seed_means, ddof=1)) if len(self.seed_means) > 1 else float("nan")


def cells(records, rule):
    """One cell for each (method, structure, fold), the rate chosen by `rule`; a dictionary by those three.

    The rate is chosen on the mean over the seeds that every rate has. There is no cell while a fold that judges (of the
    structure's folds that any method has) lacks one of the method's rates, or under 'cross-fold' where there is no
    other fold. One rate needs no choice. Under 'test' a cell has the seeds that it was chosen on alone: another seed's
    score, on which nothing was chosen, would stand beside scores that are best of several.
    """
    grid, every_fold = {}, {}
    for record in records:
        c = record.configuration
        every_fold.setdefault(c.structure, set()).add(c.fold)
        grid.setdefault((c.method, c.structure), {}).setdefault(c.fold, {}).setdefault(c.rate, []).append(record)
    found = {}
    for (method, structure), folds in grid.items():
        rates = {rate for by_rate in folds.values() for rate in by_rate}
        for fold, by_rate in folds.items():
            judges = {fold} if rule == "test" else every_fold[structure] - {fold}
            rate, seeds = _chosen_rate([folds.get(k, {}) for k in sorted(judges)], rates)
            if rate not in by_rate:
                continue
            chosen = [r for r in by_rate[rate] if rule != "test" or not seeds or r.configuration.seed in seeds]
            n = max(len(r.dice) for r in chosen)
            every = [r for runs in by_rate.values() for r in runs]
            found[method, structure, fold] = Cell(
                method, structure, fold, rate, np.concatenate([r.dice if len(r.dice) else np.zeros(n) for r in chosen]),
                tuple(r.score for r in chosen), len(every), sum(r.status == "diverged" for r in every),
                sum(r.status == "collapsed" for r in every), tuple(chosen))
    return found


def _chosen_rate(judges, rates):
    """(the best of the rates, the seeds that it was chosen on); None for a choice that cannot be made, no seeds where
    none was needed, or no seed has every rate.

    Args:
      judges: {rate: records} of each fold that judges.
      rates: all rates of the method.
    """
    if len(rates) == 1:
        return next(iter(rates)), set()
    if not judges or not all(rates <= set(by_rate) for by_rate in judges):
        return None, set()
    # Only seeds that every rate has: seeds added at the chosen rate alone must not unmake the choice.
    seeds = set.intersection(*({r.configuration.seed for r in runs} for by_rate in judges for runs in by_rate.values()))

    def score(rate):
        return np.mean([np.mean([r.score for r in by_rate[rate] if r.configuration.seed in seeds or not seeds])
                        for by_rate in judges])

    return max(sorted(rates), key=score), seeds
