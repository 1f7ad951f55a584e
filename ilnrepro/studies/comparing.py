"""A comparison from data to answer: its plan, its runs, what they say, and the page."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ilnrepro.comparison import grid, scores
from ilnrepro.comparison.choice import cells
from ilnrepro.errors import InputError
from ilnrepro.norms import method as method_row
from ilnrepro.protocols import Configuration, Protocol
from ilnrepro.storage import dataset, files, runfile
from ilnrepro.storage.dataset import DataSet
from ilnrepro.storage.locking import locked
from ilnrepro.studies import defaults, page, planning, words
from ilnrepro.studies.answer import answer
from ilnrepro.studies.planning import Plan


@dataclass(frozen=True)
class Request:
    """A comparison as a user asks for it; what is None or empty is left to the plan.

    Attributes:
      methods: to be compared.
      hours: the budget.
      rates: learning rates to try.
      seeds: their number.
      workers: number of runs side by side.
      protocol, changes: a protocol's name, and what differs from its defaults.
      options: further arguments of the commands that do the runs.
      plugin: checksum of the file that registers the user's own methods, or ''.
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


def compare(data: Path, results: Path, request: Request, reference: str | None = None) -> words.Findings:
    """Makes a plan, does the runs that are missing, and writes the page; returns the findings.

    A comparison that was interrupted goes on by the plan in its results folder.

    Raises:
      InputError: data, methods or budget do not fit, the results folder holds another comparison, or runs failed.
    """
    source = dataset.read(data)
    _check_request(data, source, request, reference)
    page.check()
    files.check_writable(results)
    console = Console(stderr=True)
    with locked(results / ".compare.lock", "at work on a comparison in this folder"):
        plan = planning.read(results)
        if plan is None:
            _check_plugin_methods(request)
            console.print(f"timing {', '.join(request.methods)}: a short run of each")
            plan = _plan(data, source, request)
            planning.write(results, plan)
        else:
            _check_same(plan, data, source, request, results)
        console.print(words.plan_in_words(plan), soft_wrap=True, highlight=False)
        _do_missing_runs(data, results, plan, request)
        records = records_of(results, plan)
        costs = {m: planning.cost(m, [runfile.read(r.path) for r in records if r.configuration.method == m])
                 for m in plan.methods}
        findings = words.Findings(answer(records), plan, costs, data, results, reference, request.options)
        files.write(findings.page, page.render(findings, source))
    return findings


def _check_request(data: Path, source: DataSet, request: Request, reference: str | None) -> None:
    from ilnrepro.training import loop

    methods = request.methods
    for name in methods:
        method_row(name)
    if len(methods) < 2 or len(set(methods)) < len(methods):
        raise InputError(f"--methods: {' '.join(methods) or 'none'}: give two or more, each once")
    if reference is not None and reference not in methods:
        raise InputError(f"--reference: {reference} is not one of --methods {' '.join(methods)}; add it there")
    if not 0 < request.hours < float("inf"):
        raise InputError(f"--hours: {request.hours:g} is no budget; give a number above 0")
    if request.seeds is not None and request.seeds < 2:
        raise InputError(f"--seeds: {request.seeds}: with one seed nobody knows what chance does; give 2 or more")
    protocol = defaults.suitable_protocol(source, request.protocol, **(request.changes or {}))
    for k in source.folds:
        in_fold = source.fold == k
        if (few := len(set(source.subject[in_fold]))) < 2:
            raise InputError(f"{data}: fold {k} has {few} subject, and what subjects differ by cannot be told from it; "
                             "prepare the data set again with fewer folds, or more subjects")
        masks = np.asarray(source.masks[in_fold])
        if not masks.any() or masks.all():
            what = "no pixel" if not masks.any() else "nothing but pixels"
            raise InputError(f"{data}: fold {k} has {what} of the structure {source.structure}; prepare the data set "
                             "again with other folds")
        for name in methods:
            loop.check(Configuration(data.stem, source.checksum, source.structure, name, k, 0.1, 0, protocol), source)


def _check_plugin_methods(request: Request) -> None:
    """Raises InputError where a method of a plug-in breaks a rule for methods.

    The check runs in a process of its own, since this one does without TensorFlow.
    """
    for name in request.methods:
        if method_row(name).plugin:
            command = [sys.executable, "-m", "ilnrepro", "methods", "--check", name, *request.options]
            done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
            if done.returncode:
                lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
                raise InputError(lines[-1].removeprefix("error: "))


def _plan(data: Path, source: DataSet, request: Request) -> Plan:
    protocol = defaults.suitable_protocol(source, request.protocol, **(request.changes or {}))
    workers = request.workers or max(1, (os.cpu_count() or 1) // protocol.threads)
    rates = request.rates or defaults.default_rates(protocol)
    timing = planning.measure_timing(data, source, request.methods, protocol, rates[0], workers, request.options)
    full = max(_full_steps(source, protocol, k) for k in source.folds)
    tried, seeds, steps, hours = planning.fit_budget(request.hours, timing, len(source.folds), full, protocol.epochs,
                                                     workers, rates, request.seeds)
    if request.rates:
        tried = len(rates)
    changes = planning.changes_of(protocol) | ({} if steps == full else {"steps_per_epoch": steps // protocol.epochs})
    return Plan(data.stem, source.checksum, source.structure, request.methods, protocol.name, changes,
                tuple(source.folds), rates[:tried], tuple(range(seeds)), steps, full, workers, request.hours,
                hours, timing, request.plugin)


def _full_steps(source: DataSet, protocol: Protocol, fold: int) -> int:
    """The steps of a run by the protocol."""
    steps = defaults.epoch_length(source, protocol, int(source.trained_on(fold, protocol.site).sum()))
    return protocol.epochs * (steps if protocol.steps_per_epoch is None else min(steps, protocol.steps_per_epoch))


def _check_same(plan: Plan, data: Path, source: DataSet, request: Request, results: Path) -> None:
    """Raises InputError where the plan in the results folder is not the one that is asked for."""
    pairs = {"the data set": ((plan.dataset, plan.checksum), (data.stem, source.checksum)),
             "methods": (plan.methods, request.methods), "hours": (plan.hours, request.hours),
             "the plug-in": (plan.plugin, request.plugin)}
    if request.rates:
        pairs["rates"] = plan.rates, request.rates
    if request.seeds:
        pairs["seeds"] = len(plan.seeds), request.seeds
    if request.protocol:
        pairs["protocol"] = plan.protocol, request.protocol
    for key, value in (request.changes or {}).items():
        pairs[key] = plan.changes.get(key, getattr(plan.training, key)), value
    for what, (planned, asked) in pairs.items():
        if planned != asked:
            values = f" ({_format(planned)}, not {_format(asked)})" if not isinstance(planned, tuple) or what in (
                "methods", "rates") else ""
            raise InputError(f"{results / planning.FILE}: the comparison that was begun there has another value "
                             f"of {what}{values}; give the same command to go on with it, or another --results")


def _format(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value) or "none"


def _do_missing_runs(data: Path, results: Path, plan: Plan, request: Request) -> None:
    more = len(plan.methods) * len(plan.folds) * (len(plan.seeds) - 1)

    def runs_with_further_seeds():
        rule = "cross-fold" if len(plan.rates) > 1 else "test"
        selected = cells(records_of(results, plan, seeds=plan.seeds[:1]), rule)
        return plan.further(data, {(m, fold): cell.rate for (m, _, fold), cell in selected.items()})

    failed = grid.run(plan.first(data), results, jobs_at_once=request.workers, options=request.options,
                      further=(more, more * plan.steps, runs_with_further_seeds))
    if failed:
        job, reason = failed[0]
        raise InputError(f"{len(failed)} runs failed, {job.configuration.path}: {reason.removeprefix('error: ')}; the "
                         "same command tries them again")


def records_of(results: Path, plan: Plan, methods: Sequence[str] = (), seeds: Sequence[int] = ()
               ) -> list[scores.Record]:
    """The records of a plan's runs, of some methods and seeds or of all.

    Raises:
      InputError: there are none, or some cannot be used.
    """
    records = scores.collect(results, plan.protocol, [plan.dataset], plan.training.variant,
                             list(methods or plan.methods), list(plan.folds), list(plan.rates),
                             list(seeds or plan.seeds))
    order = {m: i for i, m in enumerate(plan.methods)}
    return sorted(records, key=lambda r: order[r.configuration.method])
