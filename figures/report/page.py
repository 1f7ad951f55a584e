"""The report: its content, put together from records and run files, and its rendering."""

import base64
import hashlib
import shlex
from collections import Counter
from pathlib import Path

import numpy as np

from experiments.analysis import captions, cost, judgements, questions, supplement, tables, verdicts
from figures import forest, learning, rates
from figures.report import cases, charts, claims
from ilnrepro.comparison.planning import command_arguments, protocol_arguments
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.errors import InputError
from ilnrepro.norms import method as method_row
from ilnrepro.norms.rules import undone_channels
from ilnrepro.storage import files

# Okabe and Ito's palette; black follows the page's text colour, and yellow cannot be seen on white.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "currentColor", "#56b4e9", "#8a8a8a")
_DASHES = ("", "6 2", "2 2", "8 2 2 2")


def render(results, datasets, data_files):
    """The report as HTML text.

    Args:
      results: the `Results`.
      datasets: {checksum: `DataSet`} for the images of the test cases.
      data_files: paths of the data sets.

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
        **content(results, datasets, data_files), **assets,
        script_hash=f"sha256-{base64.b64encode(digest).decode()}")
    return f"{text.strip()}\n"


def content(results, datasets, data_files):
    """The values that the template shows, by name."""
    paper, records = results.paper, results.records
    runs = {key: results.run(key) for key in results.chosen_records}
    methods = captions.sort_methods({method for method, _, _ in runs})
    selection = protocol_arguments(records[0].configuration.protocol)
    command = {name: shlex.join(["python", "-m", *words, "--results", str(results.folder), *further]) for
               name, words, further in (
                   ("report", ["figures", "report"], selection), ("figures", ["figures"], selection),
                   ("tables", ["experiments", "tables"], selection), ("cost", ["experiments", "cost"], []))}
    browsers = _browsers(paper, runs, methods, datasets)
    for browser in browsers:
        files_of_report = [*map(str, data_files), browser["file"]]
        browser["command"] = f"{command['report']} {shlex.join(['--data', *files_of_report])}"
    if data_files:
        command["report"] += f" {shlex.join(['--data', *map(str, data_files)])}"
    about, about_runs = captions.about_data(records), captions.about_runs(records)
    built = supplement.build(records, paper.omitted)
    default_protocol = not records[0].configuration.variant  # claims are judged by such runs alone
    judged = {stem: table for stem, *table in (
        judgements.build(paper, records, results.folder) if default_protocol else ())}
    accuracy = judged.pop("verdicts", None)
    answer = judged.pop("answer", None)
    powers = {(r["structure"], r["first"], r["second"]): r["power"] for r in accuracy[1]} if accuracy else {}
    differences = built["differences"][1] if "differences" in built else ()
    entries = forest.rows(accuracy and accuracy[1], differences, results.rule)
    answers = questions.build(paper.evidence, results.folder, results.protocol, results.datasets) \
        if default_protocol and paper.evidence else None
    return {
        "title": "; ".join(dict.fromkeys(r.title for r in records)),
        "synthetic": any(r.synthetic for r in records),
        "about": about, "about_choice": captions.about_choice(records), "one_seed": captions.about_one_seed(records),
        "command": command, "runs": len(records),
        "lost": Counter(r.status for r in records if r.status != "complete"),
        "marks": dict(zip((*verdicts.VERDICTS, *verdicts.FURTHER_VERDICTS),
                          ("good", "bad", "bad", "open", "open", "good", "bad", "open"), strict=True)),
        "verdicts": accuracy and accuracy[0], "judged": accuracy and verdicts.verdict_counts(accuracy[1]),
        "further": [sheet for sheet, _ in judged.values()],
        "tables": [sheet for table in paper.select_tables() for _, sheet, _ in tables.sheets(table, records)],
        "questions": answers and answers[0],
        "sheets": {name: sheet for name, (sheet, _) in built.items()},
        "answer": answer and captions.sentences(answer[0].caption)[0],
        "grids": _grids(built),
        "forests": claims.forests(entries, powers, results,
                                  rates.grids(built["rates"][1]) if "rates" in built else {},
                                  {b["structure"]: (b["folds"], b["data"]) for b in browsers}),
        "charts": [*_gates(runs, methods, about_runs), _learning(runs, methods, about_runs)],
        "browsers": browsers, "cases_about": about_runs, "palette": COLOURS,
        "title_of": captions.title_of, "sentences": captions.sentences, "cost": _cost(results),
        "machines": _machines(runs, methods),
        "frame": {key: getattr(charts, key) for key in ("WIDTH", "HEIGHT", "LEFT", "RIGHT", "TOP", "BOTTOM")}
        | {"FOREST": claims.WIDTH, "SUBJECTS": claims.SUBJECTS_HEIGHT},
    }


def _grids(built):
    """[(structure, `rates.Grid`, cells)]; a cell is (text, marks, place of its colour from 0 to 1), or None."""
    panels = []
    for structure, grid in rates.grids(built["rates"][1]).items() if "rates" in built else ():
        low, high = grid.limits
        place = np.clip((grid.dice - low) / max(high - low, 1e-9), 0, 1)
        body = [[None if np.isnan(d) else (f"{d:.3f}", marks, f"{p:.2f}") for d, marks, p in zip(*row, strict=True)]
                for row in zip(grid.dice, grid.marks, place, strict=True)]
        panels.append((structure, grid, body))
    return panels


def _panels(runs, methods):
    """{'LV-1': {method: `Run`}}, in the order of structures and folds."""
    panels = {}
    for _, structure, fold in sorted(runs, key=lambda key: (key[1], key[2])):
        panels[f"{structure}-{fold}"] = {m: runs[m, structure, fold] for m in methods if (m, structure, fold) in runs}
    return panels


def _gates(runs, methods, about):
    """A chart of ρ for each method that learns it, ILN first."""
    for method in sorted(methods, key=lambda m: m != "iln"):
        panels = {title: by_method[method] for title, by_method in _panels(runs, methods).items()
                  if method in by_method and by_method[method].layers}
        if not panels:
            continue
        first = next(iter(panels.values()))
        n = len(first.layers)
        hues = np.linspace(250, 30, n)
        undone = undone_channels(method_row(method).rule, first.configuration.protocol.settings)
        series = [charts.Series(f"{layer} ({channels} channels)", f"hsl({hue:.0f} 65% 50%)",
                                "4 3" if channels == undone else "")
                  for layer, channels, hue in zip(first.layers, first.channels, hues, strict=True)]
        two = first.rho.shape[2] > 1
        title, what = captions.title_of(method), "ρ₁ − ρ₂" if two else "ρ"
        lines = {name: {k: (run.gate_step, _rho_curves(run.rho)[:, k]) for k in range(n)}
                 for name, run in panels.items()}
        final_values = {name: {k: f"{y[-1]:.3f}" for k, (_, y) in curves.items()} for name, curves in lines.items()}
        note = (f"Dashed: layers of {undone} channels, where GN{undone} is one channel a group and undoes the mix, so "
                "that ρ gets no gradient. " if undone else "")
        yield charts.lay_out(
            f"rho-{method}", f"{what} of {title}", "layer", ("step", what), series, lines, final_values,
            f"{title}: {what} of the {n} layers over training, first layer blue to last red. {note}{about}",
            [_run_command(run) for run in panels.values()])


def _rho_curves(rho):
    """ρ of each layer, `[steps, layers]`; ρ₁ − ρ₂ where there are two."""
    return rho[:, :, 0] - rho[:, :, 1] if rho.shape[2] > 1 else rho[:, :, 0]


def _learning(runs, methods, about):
    """The chart of the losses."""
    panels = _panels(runs, methods)
    width = learning.median_window(list(runs.values()))
    series = [charts.Series(captions.title_of(m), COLOURS[k % len(COLOURS)], _DASHES[(k + k // len(COLOURS)) % 4])
              for k, m in enumerate(methods)]
    lines, final_values = {}, {}
    for title, by_method in panels.items():
        lines[title], final_values[title] = {}, {}
        for method, run in by_method.items():
            k = methods.index(method)
            steps, loss = learning.running_median(run.loss, width)
            text = f"{run.status} " if run.status == "diverged" else f"{loss[-1]:.4f} "
            final_values[title][k] = f"{text}at rate {run.configuration.rate:g}"
            if len(loss):
                lines[title][k] = steps, loss
    return charts.lay_out(
        "learning", "Training loss", "method", ("step", "cross-entropy"), series, lines, final_values,
        f"Training loss, running median over {width} steps, logarithmic. "
        f"{learning.about_rate(list(runs.values()))}{about}", [_run_command(run) for run in runs.values()], log=True)


def _run_command(run):
    """The command that does a run."""
    c = run.configuration
    return shlex.join(["ilnrepro", *command_arguments(c, f"{c.dataset}.h5"), "--results", "RESULTS"])


def _browsers(paper, runs, methods, datasets):
    """The browsers of test cases, one dictionary for each structure: its cases and what the template says of them."""
    browsers = []
    for structure in dict.fromkeys(s for _, s, _ in runs):
        folds = {}
        for (method, s, fold), run in runs.items():
            if s == structure:
                folds.setdefault(fold, {})[method] = run
        tested = {k: by_method for k, by_method in folds.items() if any(run.test for run in by_method.values())}
        if not tested:
            continue
        first = next(iter(tested[min(tested)].values()))
        c, data = first.configuration, datasets.get(first.configuration.dataset_checksum)
        preparation = paper.preparation_command(first.title)
        if first.synthetic:
            preparation = f"python -m experiments reproduce {next(iter(paper.recipes(paper.rates)))} --only data"
        present = [m for m in methods if any(m in by_method for by_method in tested.values())]
        file = f"{'build/data/' if preparation else ''}{c.dataset}.h5"
        browsers.append({"structure": structure, "images": data is not None, "folds": tested, "data": data,
                         "cases": cases.browser_cases(tested, present, data), "file": file,
                         "preparation": preparation.format(shlex.quote(file)),
                         "methods": [captions.title_of(m) for m in present]})
    return browsers


def _cost(results):
    measured = files.read_json(results.folder / cost.FILE)
    return cost.build(measured, results.paper.cost)[0] if measured and results.paper.cost else None


def _machines(runs, methods):
    """The `Sheet` of the runs' machines and times."""
    body = []
    for method in methods:
        group = [run for (m, _, _), run in runs.items() if m == method]
        seconds = [run.timing["training"] for run in group]
        steps = [1000 * run.timing["training"] / run.timing["steps"] for run in group]
        body.append([captions.title_of(method), f"{group[0].parameters:,}", str(len(group)),
                     f"{np.median(seconds):.0f}", f"{np.median(steps):.1f}"])
    places = sorted({_machine(run) for run in runs.values()})
    return Sheet("Time of the runs", "Training time of the runs results, median: they went side by side with whatever "
                 f"else the machine was doing, so compare methods by their cost. {' '.join(places)}",
                 ["Method", "parameters", "runs", "seconds of training", "ms a step"], body)


def _machine(run):
    p, c = run.provenance, run.configuration.protocol
    gpu = "" if p["gpu"] == "none" else f", {p['gpu']}"
    return (f"{p['system']} {p['processor']}{gpu}, {c.threads} thread{'s'[:c.threads > 1]} a run, {p['kernels']} "
            f"kernels, TensorFlow {p['tensorflow']}, Python {p['python']}.")
