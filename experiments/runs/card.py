"""The card of a packaged network, as Markdown: its data, the choice of its method, its accuracy and its failures."""

import textwrap

import numpy as np

_WIDTH = 120
_THIRDS = "small", "middle", "large"


def text(name, data, evidence, configuration, pixel, size, elsewhere=None):
    """The card's text.

    Args:
      name: of the network.
      data: the `DataSet` that it was trained on.
      evidence: a `packaged.Evidence`.
      configuration: of one of its trainings.
      pixel: mm a side of the pixels that images are resampled to.
      size: of its file, in bytes.
      elsewhere: a `packaged.Elsewhere`, or None.
    """
    parts = [f"# {name}", _paragraph(
        f"An ensemble of networks that finds {data.structure} in images like those of {data.title}. This card was "
        "written by the program that trained it, `python -m experiments packaged`. It is for research, not for "
        "diagnosis."),
        *_use(name, pixel), *_data(data, pixel), *_method(evidence, configuration, size), *_accuracy(evidence)]
    if elsewhere:
        parts += _elsewhere(elsewhere)
    return "\n\n".join(parts) + "\n"


def _paragraph(words):
    return textwrap.fill(words, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _use(name, pixel):
    return ["## Use", f"```sh\nilnrepro predict {name} IMAGE... --output masks\n```",
            f"```python\nfound = ilnrepro.Segmenter(\"{name}\")(image, spacing=(1.4, 1.4))\n```", _paragraph(
                f"Images are resampled to pixels of {pixel:g} mm; masks come back in the images' own grid. Of an image "
                f"that tells no pixel size, as PNG does, {pixel:g} mm is assumed, and `predict` says so. Beside each "
                "mask it writes how uncertain the networks are together.")]


def _data(data, pixel):
    licence = f"Licence of the data: {data.licence}. " if data.licence else ""
    source = f"Source: {data.citation.rstrip('.')}." if data.citation else ""
    sizes = "" if data.optional.get("spacing") is not None else (
        f" The data set tells no pixel sizes. Those known of its source lie about {pixel:g} mm, which is assumed; "
        "since that is uncertain, the networks were trained over a range of scales.")
    return ["## Data", _paragraph(
        f"{data.title}: {data.size}, all of them trained on, in {len(data.folds)} folds for cross-validation. "
        f"{licence}{source}{sizes}")]


def _method(evidence, configuration, size):
    c, found = configuration, evidence.answer
    best, protocol = found.standings[0], c.protocol
    level = [s.method for s in found.standings[1:] if s.method in found.best]
    single = [s.method for s in found.standings if s.method in level and s.seeds == 1]
    apart = (f"It cannot be told apart from {', '.join(level)}; the highest mean was taken."
             if level else "It is shown to be better than each of the others.")
    if single:
        apart += f" Of {', '.join(single)} there is one seed, which says little of how much its runs differ."
    rates = ", ".join(f"{rate:g} on fold {fold}" for fold, rate in evidence.rates.items())
    rows = [f"| {s.method} | {with_interval(s.dice, s.low, s.high)} | {s.rate:g} | {s.runs} |"
            for s in found.standings]
    table = "\n".join(["| method | Dice, mean over subjects [95 % interval] | rate for all | runs |",
                       "| --- | --- | --- | --- |", *rows])
    return ["## Method", _paragraph(
        f"{best.method}, protocol {protocol.name}, learning rate {c.rate:g}, chosen by the runs of the "
        f"cross-validation: the method with the highest Dice where the rate of each fold is chosen on the other folds "
        f"({rates}), and the rate with the best mean over all folds. {apart}"), table, _paragraph(
        f"These networks were trained with augmentation besides: scale by 1/{protocol.zoom:g} to {protocol.zoom:g}, "
        f"and powers of grey levels from 1/{protocol.gamma:g} to {protocol.gamma:g} (the ranges of nnU-Net). Weights "
        f"are stored as float16, {size / 1e6:.1f} MB in all.")]


def _accuracy(evidence):
    dice, truth, predicted = evidence.dice, evidence.truth, evidence.predicted
    best, full = evidence.answer.standings[0], truth > 0
    words = (f"The method's runs by cross-validation, without the augmentation and one network at a time, on subjects "
             f"that it did not see: Dice {with_interval(best.dice, best.low, best.high)} in the mean over "
             f"{evidence.answer.subjects} subjects, {dice.mean():.3f}±{dice.std():.3f} over {evidence.answer.images} "
             f"images. What an ensemble trained on all subjects reaches on new ones was not measured there.")
    failures = (f"On {_share(dice < 0.5)} of the images Dice is below 0.5; on {_share(dice[full] == 0)} of those that "
                f"hold the structure nothing of it is found, on {_share(predicted[full] == 0)} nothing is marked at "
                f"all. The {_worst(dice[full], truth[full])} third fails most.")
    if not full.all():
        failures += f" Of images without the structure, {_share(predicted[~full] > 0)} are marked somewhere."
    return ["## Accuracy", _paragraph(words), _thirds(dice[full], truth[full]), "## Known failures",
            _paragraph(failures)]


def _elsewhere(found):
    scores, full = found.scores, found.truth > 0
    return ["## On other scanners", _paragraph(
        f"This network on {found.title}, {found.size}, which it never saw: Dice "
        f"{with_interval(scores.mean, scores.low, scores.high)} in the mean over subjects, {scores.dice.mean():.3f}±"
        f"{scores.dice.std():.3f} over images (1 where neither it nor the truth marks a pixel); below 0.5 on "
        f"{_share(scores.dice < 0.5)}."),
        _thirds(scores.dice[full], found.truth[full])]


def _thirds(dice, truth):
    """A table of Dice by thirds of the true area."""
    third, limits = _by_area(truth)
    bounds = (f"up to {limits[0]:.0f}", f"up to {limits[1]:.0f}", f"above {limits[1]:.0f}")
    rows = []
    for k, (label, bound) in enumerate(zip(_THIRDS, bounds, strict=True)):
        part = dice[third == k]
        shown = f"{part.mean():.3f}±{part.std():.3f} | {_share(part < 0.5)}" if len(part) else " | "
        rows.append(f"| {label}, {bound} pixels | {shown} |")
    return "\n".join(["| size of the structure | Dice over images | below 0.5 |", "| --- | --- | --- |", *rows])


def with_interval(mean, low, high):
    """A mean with its 95 % interval, where there is one."""
    return f"{mean:.3f}" if np.isnan(low) else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def _worst(dice, truth):
    """The third of the true areas in which Dice is most often below 0.5."""
    third, _ = _by_area(truth)
    return _THIRDS[int(np.argmax([np.mean(dice[third == k] < 0.5) if (third == k).any() else 0 for k in range(3)]))]


def _by_area(truth):
    """(the third of each true area, 0 to 2; the two limits)."""
    limits = np.quantile(truth, [1 / 3, 2 / 3])
    return np.digitize(truth, limits, right=True), limits


def _share(which):
    return f"{100 * np.mean(which):.1f} %" if len(which) else "none"
