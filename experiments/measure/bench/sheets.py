"""The benchmark's tables, of the parts that have been measured."""

from experiments.measure.bench import convolutions
from experiments.measure.bench.targets import share, targets
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.norms import METHODS

ORDER = ("installed", "reference", "tensorflow", "native", "torch-eager", "torch-compile", "keras", "keras-onednn")
NETWORKS = {"paper": "U-Net, {size}², batch {batch}", "kolarik": "3-D Res-U-Net, 16×{size}², batch {batch}"}


def sheets(results):
    """The tables of a benchmark, by name."""
    machine = ", ".join(f"{key} {value}" for key, value in results["machine"].items())
    parts = (_targets, _steps, _methods, _volumes, _growth, _use, _convolutions, _limits, _end_to_end)
    return {name: sheet for part in parts for name, sheet in part(results, machine)}


def _settings(rows):
    """{(size, batch, threads): rows}, in the order of the rows."""
    settings = dict.fromkeys((row["size"], row["batch"], row["threads"]) for row in rows)
    return {key: [r for r in rows if (r["size"], r["batch"], r["threads"]) == key] for key in settings}


def _targets(results, machine):
    body = [[t.description, f"{t.kind} {t.bound:g}", f"{t.measured:.2f}", "yes" if t.reached else "no"]
            for t in targets(results)]
    if body:
        yield "targets", Sheet("Targets", f"What the benchmark should reach, ratios of times unless said. {machine}.",
                               ["what", "target", "measured", "reached"], body)


def _steps(results, machine):
    for (size, batch, threads), rows in _settings(results.get("steps", [])).items():
        ms = next(r["ms"] for r in rows if (r["implementation"], r["method"]) == ("reference", "none"))
        columns = [name for name in ORDER if any(r["implementation"] == name for r in rows)]
        body = []
        for method in sorted({r["method"] for r in rows if r["implementation"] in columns}, key=_rank):
            cells = [[r for r in rows if r["implementation"] == c and r["method"] == method] for c in columns]
            # Of two memory layouts the faster is quoted.
            body.append([method, *(f"{min(r['ratio_to_none'] for r in some):.2f}" if some else "" for some in cells)])
        skipped = "".join(f" Skipped: {name} ({why})." for name, why in results["skipped"].items())
        yield f"steps-{size}-batch{batch}", Sheet(
            f"Training step, {size}², batch {batch}, {threads} thread(s): ratio to none",
            f"One training step at {size}×{size}, batch {batch}, {threads} thread(s), over no normalization written as "
            f"plain tf.nn convolution, bias and ReLU, with oneDNN ({ms:.1f} ms), median over interleaved rounds, "
            f"each ratio to the plain steps just before and after. {machine}.{skipped}", ["method", *columns], body)


def _rank(method):
    """The sort key of a method: its place in the table of methods, and its name."""
    names = list(METHODS)
    name = method if method in names else next(n for n in names if "<G>" in n and method.startswith(n.split("<")[0]))
    return names.index(name), method


def _methods(results, machine):
    settings = _settings(results.get("methods", []))
    if not settings:
        return
    ratios = [{r["method"]: r["ratio_to_none"] for r in rows} for rows in settings.values()]
    yield "methods", Sheet(
        "All methods over none", "Training step of our network, batch 1, over the same without normalization, median "
        f"over interleaved rounds. {machine}.",
        ["method", *(f"{size}², {threads} thread(s)" for size, _, threads in settings)],
        [[method, *(f"{one[method]:.2f}" for one in ratios)] for method in sorted(ratios[0], key=_rank)])


def _volumes(results, machine):
    for (size, batch, threads), rows in _settings(results.get("volumes", [])).items():
        ms = next(r["ms"] for r in rows if r["implementation"] == "reference")
        yield "volumes", Sheet(
            "3-D training step", f"Kolarik's network on slabs of 16×{size}², batch {batch}, {threads} thread(s), over "
            f"plain tf.nn without normalization, with oneDNN ({ms:.0f} ms). {machine}.", ["method", "native"],
            [[r["method"], f"{r['ratio_to_none']:.2f}"] for r in rows if r["implementation"] == "native"])


def _growth(results, machine):
    body = []
    for (size, batch, _), all_rows in _settings(results.get("growth", [])).items():
        rows = {(r["implementation"], r["method"]): r for r in all_rows}
        body.append([f"{size}²", str(batch), f"{rows['reference', 'none']['ms']:.1f}",
                     *(f"{rows['native', method]['ratio_to_none']:.2f}" for method in ("none", "in", "iln"))])
    if body:
        yield "growth", Sheet(
            "Growth", f"Plain step and native ratios to it over size and batch, two threads. {machine}.",
            ["size", "batch", "plain none, ms", "none", "in", "iln"], body)


def _use(results, machine):
    rows = results.get("use", [])
    if rows:
        none = {r["implementation"]: r["ratio_to_none"] for r in rows if r["method"] == "none"}
        yield "use", Sheet(
            "In use", f"Segmenting one image of {rows[0]['size']}² with two threads: exported as a SavedModel, and by "
            f"`predict` from the run file; ratios to the same without normalization. {machine}.",
            ["way", "method", "ms", "over none"],
            [[r["implementation"], r["method"], f"{r['ms']:.1f}",
              f"{r['ratio_to_none'] / none[r['implementation']]:.2f}"] for r in rows])


def _convolutions(results, machine):
    for part in results.get("convolutions", []):
        yield f"convolutions-{part['threads']}", convolutions.sheet(part, machine)


def _limits(results, machine):
    if "memory" not in results:
        return
    shares = ((batch, share(results, batch)) for batch in (1, 8))
    body = [[f"the step of ILN at 256², batch {batch}, of the product's rate", f"{of_product:.2f}"]
            for batch, of_product in shares if of_product is not None]
    body += [[f"kernel {name}" if name != "copy" else "plain copy", f"{rate:.0f} GB/s"]
             for name, rate in results["kernels_gb_per_s"].items()]
    body += [[f"peak memory of the step, {NETWORKS[m['network']].format(**m)}, {m['method']}, "
              f"{'plain tf.nn' if m['implementation'] == 'reference' else 'native'}", f"{m['mib']:.0f} MiB"]
             for m in results["memory"]]
    yield "limits", Sheet("Physical limits", f"Arithmetic, bytes and memory. {machine}.", ["what", "measured"], body)


def _end_to_end(results, machine):
    rows = results.get("end_to_end", [])
    if not rows:
        return
    headings = ["size", "bare step", "training", "training / bare", "one run, two threads",
                "two runs, one thread each", "gain"]
    body = [[f"{r['size']}²", *(f"{r[key]:.1f}" for key in ("bare", "training")), f"{r['training_over_bare']:.2f}",
             *(f"{r[key]:.1f}" for key in ("one_run_two_threads", "two_runs_one_thread")),
             f"{r['side_by_side_gain']:.2f}"]
            for r in rows]
    yield "end-to-end", Sheet(
        "End to end, images a second", f"ILN on phantom files, one thread unless said. {machine}.", headings, body)
