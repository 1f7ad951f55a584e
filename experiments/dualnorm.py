"""DualNorm-UNet on images of several sites: its runs, Dice by site in every mode, and what the modes cost."""

import statistics
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments import grid
from experiments.comparisons import compare, fold_scores, interval
from experiments.cost import device, in_turns, measurement
from experiments.intervals import written
from experiments.papers import RATES
from experiments.scores import cells, collect
from experiments.sheet import Sheet
from experiments.sheet import write as write_sheet
from experiments.statistics import about, title_of
from ilnrepro import dataset, tf
from ilnrepro.dualnorm_unet import MASKS
from ilnrepro.errors import InputError
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.training import Training

MODES = {"none": "baseline", "predicted": "predicted mask", "oracle": "oracle mask"}
STEM, COST_STEM = "dualnorm", "dualnorm-cost"


def plan(data_path, name, methods=None, train_sites=None, rates=None, seeds=None, folds=None, **changes):
    """The jobs: every mode, trained on all sites and on one.

    Args:
      name: of the protocol.
      train_sites: sites' names, 'all' among them for all together; None takes all and the first.
      changes: further fields of the protocol.

    Raises:
      InputError: as `grid.plan`; the data set does not tell sites.
    """
    data = dataset.read(data_path)
    if "site" not in data.optional:
        raise InputError(f"{data_path}: site: not in the data set; prepare it with sites (`data_prep phantom --sites "
                         "3`, `data_prep sunnybrook --sites pathology`)")
    sites = sorted(set(data.optional["site"].astype(str)))
    return [job for site in train_sites or ["all", sites[0]] for mask in MASKS for job in grid.plan(
        [data_path], methods or ["bn"],
        protocol(name, **{**changes, "class_mask": mask, "site": "" if site == "all" else site}),
        rates or RATES[name], seeds or [0], folds or [1])]


class Group(NamedTuple):
    """The runs of one mode, trained on all sites or on one ('')."""

    trained_on: str
    mode: str
    records: list


def groups(results, name, datasets=None, **changes):
    """The `Group`s that a results folder holds, of the protocol with some changes, in every mode and on every site.

    Raises:
      InputError: there are none; or as `scores.collect`.
    """
    found = []
    for variant in {path.name.partition("+")[2] for path in Path(results).glob(f"runs/*/{name}/*")
                    if datasets is None or path.parts[-3] in datasets}:
        records = collect(results, name, datasets, f"+{variant}" if variant else "")
        p = records[0].configuration.protocol
        if protocol(name, **{**changes, "class_mask": p.class_mask, "site": p.site}) == p:
            found.append(Group(p.site, p.class_mask, records))
    if not found:
        raise InputError(f"{results}: no such runs of protocol {name}; run `make reproduce-dualnorm` first")
    return sorted(found, key=lambda group: (group.trained_on, MASKS.index(group.mode)))


def build(found):
    """(`Sheet`, tidy rows) of some `Group`s: Dice on each site's test images, by what was trained on and mode."""
    tidy = []
    tested = {(r.configuration.structure, r.configuration.fold): r for group in found for r in group.records
              if len(r.dice)}
    baselines = {(group.trained_on, key): cell for group in found if group.mode == "none"
                 for key, cell in cells(group.records, "test").items()}
    for group in found:
        for key, cell in sorted(cells(group.records, "test").items()):
            example, baseline = tested[key[1:]], baselines.get((group.trained_on, key))
            for site in (*sorted(set(example.site)), "all"):
                others = [] if site == "all" else np.unique(example.subject[example.site != site])
                mine, base = (c and fold_scores(c, example.subject, omit=others) for c in (cell, baseline))
                mean, low, high = interval([mine])
                row = {"trained_on": group.trained_on or "all", "mode": group.mode, "method": key[0], "fold": cell.name,
                       "rate": cell.rate, "seeds": len(mine.seeds), "status": " ".join(sorted({
                           r.status for r in cell.chosen})), "parameters": cell.chosen[0].parameters, "site": site,
                       "images": mine.by_image.shape[1], "subjects": len(mine.subjects),
                       "dice": float(mine.by_image.mean()), "std": float(mine.by_image.std()),
                       "dice_subjects": mean, "dice_low": low, "dice_high": high,
                       "difference": None, "low": None, "high": None}
                if base and group.mode != "none":
                    c = compare([mine], [base], (group.mode, "none"))
                    row |= {"difference": c.difference, "low": c.low, "high": c.high}
                tidy.append(row)
    return _sheet(tidy, [r for group in found for r in group.records]), tidy


def _sheet(tidy, records):
    sites = list(dict.fromkeys(r["site"] for r in tidy))
    lines = {}
    for r in tidy:
        lines.setdefault((r["trained_on"], r["mode"], r["method"], r["fold"]), {})[r["site"]] = r
    body = []
    for (trained, mode, method, fold), by_site in lines.items():
        whole = by_site["all"]
        gain = "" if whole["difference"] is None else written(*(whole[key] for key in ("difference", "low", "high")))
        mark = "" if whole["status"] == "complete" else f" ({whole['status']})"
        body.append([trained, MODES[mode] + mark, title_of(method), fold,
                     *(f"{r['dice']:.3f}±{r['std']:.3f}" for r in map(by_site.get, sites)), gain,
                     f"{whole['parameters']:,}"])
    p = records[0].configuration.protocol
    text = ("DualNorm-UNet (Xiao et al. 2021): Dice on the test images of each site, mean±std over images, trained on "
            f"the images of all sites or of one. {about(records)} {p.epochs} epochs of {p.steps_per_epoch} batches of "
            f"{p.batch}, images averaged over {p.shrink}×{p.shrink} pixels; each batch takes two optimizer steps in "
            "every mode. baseline: no class mask in either step; predicted mask: the paper's, the second pass sees the "
            "first one's class probabilities; oracle mask: it sees the true masks, which no use of the network has, an "
            "upper bound. over baseline: difference in points of Dice on all test images, mean over subjects, 95 % "
            "interval over subjects, and over seeds where there are several, in brackets. Where a site was not trained "
            "on, its column shows what carries over.")
    if p.name == "dualnorm-quick":
        text += " Under-trained: it shows that everything works, not which mode is best."
    title = f"DualNorm-UNet ({'SYNTHETIC, ' if records[0].synthetic else ''}Dice mean±std by site)"
    return Sheet(title, text, ["trained on", "mode", "Method", "fold", *(f"site {s}" if s != "all" else "all sites"
                                                                         for s in sites),
                               "over baseline", "parameters"], body)


def measure(name, size, rounds=5, steps=1, progress=True):
    """Times a training batch (two steps) and a prediction in every mode, in turns, on random images of `size`².

    Returns:
      plain numbers and text, as `cost_sheet` needs them.
    """
    chosen = protocol(name)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.random((chosen.batch, size, size, 1)), tf.float32)
    masks = tf.constant(rng.integers(0, 2, (chosen.batch, size, size)), tf.int32)
    ready = iter(tf.data.Dataset.from_tensors((images, masks)).repeat())
    works, parameters = {}, {}
    for mode in MASKS:
        training = Training(Configuration("random", "", "LV", "bn", 1, 1e-3, 0, protocol(name, class_mask=mode)))
        truth = masks if mode == "oracle" else None
        works[mode, "batch"] = lambda t=training: t.block(ready, tf.constant(0.0), tf.constant(steps)).numpy()
        works[mode, "prediction"] = lambda t=training, m=truth: [t.predict(images, m).numpy() for _ in range(steps)]
        parameters[mode] = sum(int(tf.size(v)) for v in training.trainable)
    for work in works.values():
        work()  # traced and warmed up
    seconds = in_turns(works, rounds, f"time: {rounds} rounds of {len(MASKS)} modes at {size}²" if progress else None)
    rows = [{"mode": mode, "parameters": parameters[mode],
             **{f"{what}_seconds": statistics.median(seconds[mode, what]) / steps for what in ("batch", "prediction")},
             **{f"{what}_ratio": statistics.median(a / b for a, b in zip(seconds[mode, what], seconds["none", what],
                                                                         strict=True))
                for what in ("batch", "prediction")}} for mode in MASKS]
    return {"rows": rows, "protocol": name, "size": size, "batch": chosen.batch, "rounds": rounds, **device()}


def cost_sheet(measured):
    """The `Sheet` of a measurement."""
    m = measured
    base = m["rows"][0]["parameters"]
    body = [[MODES[r["mode"]], f"{r['parameters']:,}", f"{r['parameters'] - base:,}",
             f"{1000 * r['batch_seconds']:.0f}", f"{r['batch_ratio']:.2f}",
             f"{1000 * r['prediction_seconds']:.0f}", f"{r['prediction_ratio']:.2f}"] for r in m["rows"]]
    return Sheet("DualNorm-UNet: cost", "DualNorm-UNet (Xiao et al. 2021): trainable parameters, milliseconds for a "
                 f"training batch (two steps) and for the prediction of a batch, {m['batch']} random images of "
                 f"{m['size']}×{m['size']}; medians of {m['rounds']} rounds in turns, ratios to the baseline round by "
                 f"round. {m['device']}, {m['threads']} threads, {m['kernels']} kernels, TensorFlow {m['tensorflow']}. "
                 "The paper's abstract gives no times.",
                 ["mode", "parameters", "more", "ms a batch", "ratio", "ms a prediction", "ratio"], body)


def write(results, name, datasets=None, **changes):
    """Writes the tables from run files and the measurement in `results`; returns them for the screen."""
    results = Path(results)
    table, tidy = build(groups(results, name, datasets, **changes))
    write_sheet(results / "tables", STEM, table, tidy)
    shown = [table.rich()]
    if found := measurement(results / f"{COST_STEM}.json"):
        write_sheet(results / "tables", COST_STEM, cost_sheet(found), found["rows"])
        shown.append(cost_sheet(found).rich())
    return shown
