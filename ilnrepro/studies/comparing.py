"""A comparison from data to answer: plan, runs, what they say, and the page."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ilnrepro.comparison import grid, scores
from ilnrepro.comparison.choice import cells
from ilnrepro.errors import InputError
from ilnrepro.norms import method as method_row
from ilnrepro.protocols import Configuration, Protocol
from ilnrepro.storage import dataset, files, runfile
from ilnrepro.storage.dataset import DataSet
from ilnrepro.storage.locking import locked
from ilnrepro.studies import defaults, page, plan, words
from ilnrepro.studies.answer import answer
from ilnrepro.studies.plan import Plan


@dataclass(frozen=True)
class Wanted:
    """What a user asks of a comparison; None and nothing where the plan decides.

    Attributes:
      hours: the budget.
      rates, seeds: to be tried; how many.
      workers: runs side by side.
      protocol, changes: a protocol's name, and what differs from its defaults.
      options: further words for every run's command.
      plugin: checksum of the file that has methods of one's own, or ''.
    """

    methods: tuple[str, ...]
    hours: float
    rates: tuple[float, ...] = ()
    seeds: int | None = None
    workers: int | None = None
    protocol: str | None = None
    changes: dict[str, Any] | None = None
    options: tuple[str, ...] = ()
    plugin: str = ""


def compare(data: Path, results: Path, wanted: Wanted, reference: str | None = None) -> words.Findings:
    """Plans, does what runs are missing, and writes the page; returns the findings.

    A comparison that was interrupted goes on by the plan in its results folder.

    Raises:
      InputError: data, methods or budget do not fit, the results folder holds another comparison, or runs failed.
    """
    source = dataset.read(data)
    _check(data, source, wanted, reference)
    page.check()
    files.check_writable(results)
    console = Console(stderr=True)
    with locked(results / ".compare.lock", "at work on a comparison in this folder"):
        made = plan.read(results)
        if made is None:
            _check_own(wanted)
            console.print(f"timing {', '.join(wanted.methods)}: a short run of each")
            made = _plan(data, source, wanted)
            plan.write(results, made)
        else:
            _check_same(made, data, source, wanted, results)
        console.print(words.about(made), soft_wrap=True, highlight=False)
        _do(data, results, made, wanted)
        records = records_of(results, made)
        found = answer(records)
        costs = {m: plan.cost(m, [runfile.read(r.path) for r in records if r.configuration.method == m])
                 for m in made.methods}
        findings = words.Findings(found, made, costs, data, results, reference, wanted.options)
        files.write(findings.page, page.render(findings, source))
    return findings


def _check(data: Path, source: DataSet, wanted: Wanted, reference: str | None) -> None:
    from ilnrepro.training import loop

    methods = wanted.methods
    for name in methods:
        method_row(name)
    if len(methods) < 2 or len(set(methods)) < len(methods):
        raise InputError(f"--methods: {' '.join(methods) or 'none'}: give two or more, each once")
    if reference is not None and reference not in methods:
        raise InputError(f"--reference: {reference} is not one of --methods {' '.join(methods)}; add it there")
    if not 0 < wanted.hours < float("inf"):
        raise InputError(f"--hours: {wanted.hours:g} is no budget; give a number above 0")
    if wanted.seeds is not None and wanted.seeds < 2:
        raise InputError(f"--seeds: {wanted.seeds}: with one seed nobody knows what chance does; give 2 or more")
    chosen = defaults.suited(source, wanted.protocol, **(wanted.changes or {}))
    for k in source.folds:
        here = source.fold == k
        if (few := len(set(source.subject[here]))) < 2:
            raise InputError(f"{data}: fold {k} has {few} subject, and what subjects differ by cannot be told from it; "
                             "prepare the data set again with fewer folds, or more subjects")
        if not source.masks[here].any() or source.masks[here].all():
            there = "no pixel" if not source.masks[here].any() else "nothing but pixels"
            raise InputError(f"{data}: fold {k} has {there} of the structure {source.structure}; prepare the data set "
                             "again with other folds")
        for name in methods:
            loop.check(Configuration(data.stem, source.checksum, source.structure, name, k, 0.1, 0, chosen), source)


def _check_own(wanted: Wanted) -> None:
    """Raises InputError where a method of one's own is not what a method must be. In a process of its own, for this one
    does without TensorFlow."""
    for name in wanted.methods:
        if method_row(name).plugin:
            words_of = [sys.executable, "-m", "ilnrepro", "methods", "--check", name, *wanted.options]
            done = subprocess.run(words_of, capture_output=True, encoding="utf-8", errors="replace")
            if done.returncode:
                said = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
                raise InputError(said[-1].removeprefix("error: "))


def _plan(data: Path, source: DataSet, wanted: Wanted) -> Plan:
    chosen = defaults.suited(source, wanted.protocol, **(wanted.changes or {}))
    workers = wanted.workers or max(1, (os.cpu_count() or 1) // chosen.threads)
    rates = wanted.rates or defaults.rates_of(chosen)
    timing = plan.timed(data, source, wanted.methods, chosen, rates[0], workers, wanted.options)
    full = max(_full(source, chosen, k) for k in source.folds)
    tried, seeds, steps, hours = plan.within(wanted.hours, timing, len(source.folds), full, chosen.epochs, workers,
                                             rates, wanted.seeds)
    if wanted.rates:
        tried = len(rates)
    changes = plan.changes_of(chosen) | ({} if steps == full else {"steps_per_epoch": steps // chosen.epochs})
    return Plan(data.stem, source.checksum, source.structure, wanted.methods, chosen.name, changes,
                tuple(source.folds), rates[:tried], tuple(range(seeds)), steps, full, workers, wanted.hours,
                hours, timing, wanted.plugin)


def _full(source: DataSet, chosen: Protocol, fold: int) -> int:
    """Steps of a run by the protocol."""
    whole = defaults.epoch(source, chosen, int(source.trained_on(fold, chosen.site).sum()))
    return chosen.epochs * (whole if chosen.steps_per_epoch is None else min(whole, chosen.steps_per_epoch))


def _check_same(made: Plan, data: Path, source: DataSet, wanted: Wanted, results: Path) -> None:
    """Raises InputError where the plan in the results folder is of something else than is asked for."""
    pairs = {"the data set": ((made.dataset, made.checksum), (data.stem, source.checksum)),
             "methods": (made.methods, wanted.methods), "hours": (made.hours, wanted.hours),
             "the plug-in": (made.plugin, wanted.plugin)}
    if wanted.rates:
        pairs["rates"] = made.rates, wanted.rates
    if wanted.seeds:
        pairs["seeds"] = len(made.seeds), wanted.seeds
    if wanted.protocol:
        pairs["protocol"] = made.protocol, wanted.protocol
    for key, value in (wanted.changes or {}).items():
        pairs[key] = made.changes.get(key, getattr(made.training, key)), value
    for what, (planned, asked) in pairs.items():
        if planned != asked:
            values = f" ({_shown(planned)}, not {_shown(asked)})" if not isinstance(planned, tuple) or what in (
                "methods", "rates") else ""
            raise InputError(f"{results / plan.FILE}: the comparison that was begun there has another value of {what}"
                             f"{values}; give the same command to go on with it, or another --results")


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value) or "none"


def _do(data: Path, results: Path, made: Plan, wanted: Wanted) -> None:
    """Does the runs that are not done."""
    more = len(made.methods) * len(made.folds) * (len(made.seeds) - 1)

    def further():
        rule = "cross-fold" if len(made.rates) > 1 else "test"
        found = cells(records_of(results, made, seeds=made.seeds[:1]), rule)
        chosen = {(m, fold): cell.rate for (m, _, fold), cell in found.items()}
        return made.further(data, chosen)

    failed = grid.run(made.first(data), results, jobs_at_once=wanted.workers, options=wanted.options,
                      further=(more, more * made.steps, further))
    if failed:
        job, reason = failed[0]
        raise InputError(f"{len(failed)} runs failed, {job.configuration.path}: {reason.removeprefix('error: ')}; the "
                         "same command tries them again")


def records_of(results: Path, made: Plan, methods: Sequence[str] = (), seeds: Sequence[int] = ()
               ) -> list[scores.Record]:
    """The records of a plan's runs, of all its methods and seeds or some.

    Raises:
      InputError: there are none, or some cannot be used.
    """
    found = scores.collect(results, made.protocol, [made.dataset], made.training.variant,
                           list(methods or made.methods), list(made.folds), list(made.rates), list(seeds or made.seeds))
    order = {m: i for i, m in enumerate(made.methods)}
    return sorted(found, key=lambda r: order[r.configuration.method])
