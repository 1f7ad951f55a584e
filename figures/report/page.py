"""What the report says, put together from records and run files, and rendered."""

import base64
import hashlib
import shlex
from collections import Counter
from pathlib import Path

import numpy as np

from experiments import agreement, cost, evidence, grid, secondary, selection, statistics, tables, verdicts
from experiments.papers import ordered, tables_of
from experiments.scores import cells
from experiments.sheet import Sheet
from figures import differences, learning, rates, rho
from figures.report import cases, charts
from ilnrepro import runfile
from ilnrepro.errors import InputError

# Okabe and Ito's palette; black follows the page's text colour, and yellow cannot be seen on white.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "currentColor")
_DASHES = ("", "6 2", "2 2", "8 2 2 2")


def render(results, records, datasets, options):
    """The report as HTML text.

    Args:
      results: the folder of the runs.
      records: of `scores.collect`.
      datasets: `DataSet`s for the images of the test cases, by checksum.
      options: further words of the make command, such as 'LV=FILE.h5'.

    Raises:
      InputError: Jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise InputError('report: Jinja2 is not installed; pip install "ilnrepro[report]"') from error
    folder = Path(__file__).parent
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    assets = {name: (folder / f"report.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    digest = hashlib.sha256(assets["js"].encode()).digest()
    text = environment.get_template("report.html.jinja").render(
        **content(results, records, datasets, options), **assets,
        script_hash=f"sha256-{base64.b64encode(digest).decode()}")
    return f"{text.strip()}\n"


def content(results, records, datasets, options):
    """What the template shows, by name."""
    rule = statistics.primary_rule(records)
    found = {key: cell.chosen[0] for key, cell in cells(records, rule).items()}  # of each cell the first seed's run
    runs = {key: runfile.read(record.path) for key, record in found.items()}
    methods = ordered({method for method, _, _ in runs})
    here = f"RESULTS={shlex.quote(str(results))}"
    command = {name: " ".join([f"make {name}", here, *more]) for name, more in
               (("report", options), ("tables", []), ("figures", []), ("reproduce-cost", []))}
    about, about_rules = statistics.about(records), statistics.about_rules(statistics.rules_of(records))
    of_runs = statistics.about_runs(records)
    built = statistics.build(records)
    variant = records[0].configuration.variant
    name = records[0].configuration.protocol.name
    ours = variant or tables_of(name) != [1, 2, 3]  # nothing that the ILN paper's claims could be judged by
    judged = None if ours else verdicts.build(records)
    further = [] if ours else [built[0] for built in (
        verdicts.build_others(records, results), secondary.build(records), selection.build(records),
        agreement.build(records)) if built]
    questions = None if ours else evidence.build(
        results, name, sorted({r.configuration.dataset for r in records}))
    return {
        "title": "; ".join(dict.fromkeys(r.title for r in records)),
        "synthetic": any(r.synthetic for r in records),
        "about": about, "about_rules": about_rules, "one_seed": statistics.about_one_seed(records),
        "command": command, "runs": len(records),
        "lost": Counter(r.status for r in records if r.status != "complete"),
        "marks": dict(zip((*verdicts.VERDICTS, *verdicts.OTHER_VERDICTS),
                          ("good", "bad", "bad", "open", "open", "good", "bad", "open"), strict=True)),
        "verdicts": judged and judged[0], "judged": judged and verdicts.counted(judged[1]), "further": further,
        "tables": [made[1] for key in tables_of(name) for made in tables.sheets(key, records)],
        "questions": questions and questions[0],
        "sheets": {name: one[0] for name, one in built.items()},
        "grids": _grids(built), "forests": _forests(built, records, rule),
        "charts": [*_gates(runs, methods, of_runs), _learning(runs, methods, of_runs)],
        "browsers": _browsers(runs, methods, datasets), "cases_about": of_runs, "palette": COLOURS,
        "title_of": statistics.title_of, "cost": _cost(results), "machines": _machines(runs, methods),
        "frame": {key: getattr(charts, key) for key in ("WIDTH", "HEIGHT", "LEFT", "RIGHT", "TOP", "BOTTOM",
                                                        "FOREST_WIDTH")},
    }


def _grids(built):
    """[(structure, `rates.Grid`, cells as (text, marks, place between the colours 0..1))]."""
    made = []
    for structure, found in rates.grids(built["rates"][1]).items() if "rates" in built else ():
        low, high = found.limits
        place = np.clip((found.dice - low) / max(high - low, 1e-9), 0, 1)
        body = [[None if np.isnan(d) else (f"{d:.3f}", marks, f"{p:.2f}") for d, marks, p in zip(*row, strict=True)]
                for row in zip(found.dice, found.marks, place, strict=True)]
        made.append((structure, found, body))
    return made


def _forests(built, records, rule):
    """A `charts.Forest` a structure, with the paper's differences where the data are the paper's."""
    rows = built["differences"][1] if "differences" in built else []
    published = {(row["fold"], row["method"]): row["published_mean"]
                 for key in tables_of(records[0].configuration.protocol.name)
                 for row in tables.build(key, records, rule) if not np.isnan(row["published_mean"])}
    made = []
    for structure, methods in differences.forests(rows).items():
        fold = f"{structure}-mean"
        theirs = {statistics.title_of(m): published[fold, "iln"] - published[fold, m] for m in methods
                  if (fold, m) in published and (fold, "iln") in published}
        made.append(charts.forest(structure, [r for r in statistics.rules_of(records)
                                              if any(r in by_rule for by_rule in methods.values())],
                                  {statistics.title_of(m): by_rule for m, by_rule in methods.items()}, theirs,
                                  verdicts.HALF_A_POINT))
    return made


def _panels(runs, methods):
    """{'LV-1': {method: `Run`}}, the paper's structures and folds in order."""
    made = {}
    for _, structure, fold in sorted(runs, key=lambda key: (key[1], key[2])):
        made[f"{structure}-{fold}"] = {m: runs[m, structure, fold] for m in methods if (m, structure, fold) in runs}
    return made


def _gates(runs, methods, about):
    """A chart of ρ for every method that learns it, ILN first."""
    for method in sorted(methods, key=lambda m: m != "iln"):
        panels = {title: of_it[method] for title, of_it in _panels(runs, methods).items()
                  if method in of_it and of_it[method].layers}
        if not panels:
            continue
        first = next(iter(panels.values()))
        n = len(first.layers)
        hues, undone = np.linspace(250, 30, n), rho.undone_at_16(first.configuration)
        series = [charts.Series(f"{layer} ({channels} channels)", f"hsl({hue:.0f} 65% 50%)",
                                "4 3" if channels == 16 and undone else "")
                  for layer, channels, hue in zip(first.layers, first.channels, hues, strict=True)]
        two = first.rho.shape[2] > 1
        title, what = statistics.title_of(method), "ρ₁ − ρ₂" if two else "ρ"
        lines = {name: {k: (run.gate_step, _one(run.rho)[:, k]) for k in range(n)} for name, run in panels.items()}
        ends = {name: {k: f"{y[-1]:.3f}" for k, (_, y) in of_it.items()} for name, of_it in lines.items()}
        note = ("Dashed: layers of 16 channels, where GN16 is one channel a group and undoes the mix, so that ρ gets "
                "no gradient. " if undone else "")
        yield charts.chart(
            f"rho-{method}", f"{what} of {title}", "layer", ("step", what), series, lines, ends,
            f"{title}: {what} of the {n} layers over training, first layer blue to last red. {note}{about}",
            [_made_by(run) for run in panels.values()])


def _one(rho):
    return rho[:, :, 0] - rho[:, :, 1] if rho.shape[2] > 1 else rho[:, :, 0]


def _learning(runs, methods, about):
    """The chart of the losses."""
    panels = _panels(runs, methods)
    width = learning.window(list(runs.values()))
    series = [charts.Series(statistics.title_of(m), COLOURS[k % len(COLOURS)], _DASHES[k % len(_DASHES)])
              for k, m in enumerate(methods)]
    lines, ends = {}, {}
    for title, of_it in panels.items():
        lines[title], ends[title] = {}, {}
        for method, run in of_it.items():
            k = methods.index(method)
            steps, loss = learning.smoothed(run.loss, width)
            text = f"{run.status} " if run.status == "diverged" else f"{loss[-1]:.4f} "
            ends[title][k] = f"{text}at rate {run.configuration.rate:g}"
            if len(loss):
                lines[title][k] = steps, loss
    return charts.chart(
        "learning", "Training loss", "method", ("step", "cross-entropy"), series, lines, ends,
        f"Training loss, running median over {width} steps, logarithmic. "
        f"{learning.rate_falls(list(runs.values()))}{about}", [_made_by(run) for run in runs.values()], log=True)


def _made_by(run):
    """The command of one run."""
    c = run.configuration
    return shlex.join(["ilnrepro", *grid.words(c, f"{c.dataset}.h5"), "--results", "RESULTS"])


def _browsers(runs, methods, datasets):
    """For every structure its test cases, and what the template says of them."""
    made = []
    for structure in dict.fromkeys(s for _, s, _ in runs):
        folds = {}
        for (method, s, fold), run in runs.items():
            if s == structure:
                folds.setdefault(fold, {})[method] = run
        tested = {k: of_it for k, of_it in folds.items() if any(run.test for run in of_it.values())}
        if not tested:
            continue
        first = next(iter(tested[min(tested)].values()))
        c, data = first.configuration, datasets.get(first.configuration.dataset_checksum)
        maker = ("make data" if first.synthetic else
                 "make data-sunnybrook SOURCE=…" if "Sunnybrook" in first.title else "")
        mine = [m for m in methods if any(m in of_it for of_it in tested.values())]
        made.append({"structure": structure, "images": data is not None, "cases": cases.chosen(tested, mine, data),
                     "file": f"{'build/data/' if maker else ''}{c.dataset}.h5", "maker": maker,
                     "methods": [statistics.title_of(m) for m in mine]})
    return made


def _cost(results):
    measured = cost.measurement(results / "cost.json")
    return cost.build(measured)[0] if measured else None


def _machines(runs, methods):
    """Where the runs were made, and how long they took there."""
    body = []
    for method in methods:
        of_it = [run for (m, _, _), run in runs.items() if m == method]
        seconds = [run.timing["training"] for run in of_it]
        steps = [1000 * run.timing["training"] / run.timing["steps"] for run in of_it]
        body.append([statistics.title_of(method), f"{of_it[0].parameters:,}", str(len(of_it)),
                     f"{np.median(seconds):.0f}", f"{np.median(steps):.1f}"])
    places = sorted({_machine(run) for run in runs.values()})
    return Sheet("Time of the runs", "Training time of the runs shown, median: they went side by side with whatever "
                 f"else the machine was doing, so compare methods by their cost. {' '.join(places)}",
                 ["Method", "parameters", "runs", "seconds of training", "ms a step"], body)


def _machine(run):
    p, c = run.provenance, run.configuration.protocol
    gpu = "" if p["gpu"] == "none" else f", {p['gpu']}"
    return (f"{p['system']} {p['processor']}{gpu}, {c.threads} thread{'s'[:c.threads > 1]} a run, {p['kernels']} "
            f"kernels, TensorFlow {p['tensorflow']}, Python {p['python']}.")
