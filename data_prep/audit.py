"""The audit of a preparation: what it counted, left out and suspects, printed and stored in the data set as JSON."""

import contextlib
import hashlib
from collections import Counter

import numpy as np
from rich.table import Table

from data_prep.images import digest
from ilnrepro.errors import InputError
from ilnrepro.use.images import format_shape

SMALL = 20  # pixels; masks below it are listed
# Of the misalignment measure, as parts of the image's side: search, ring about the mask, suspicion.
REACH, RING, SUSPICIOUS, NEAR = 16 / 256, 5 / 256, 6 / 256, 3 / 256
SHARE = 0.6  # of the largest contrast that masks in place have


class Audit:
    """The record of a source while a data set is made from it.

    Attributes:
      allow_partial: whether damaged cases may be left out and expected totals missed.
      damaged: item and reason of each damaged case.
      left_out: number and reason of what a rule leaves out.
      counts: whatever else the source's reader counts, by name.
    """

    def __init__(self, source, allow_partial=False):
        """Of the file or folder `source`, to which checksums' paths are relative."""
        self.source, self.allow_partial = source, allow_partial
        self.damaged, self.left_out, self.counts = [], [], {}
        self._digests = {}

    @contextlib.contextmanager
    def case(self, item):
        """A block that reads one case; an InputError in it ends the block and counts as a damaged case."""
        try:
            yield
        except InputError as error:
            self.damaged.append({"item": str(item), "reason": str(error)})

    def leave_out(self, number, reason):
        """Counts what is left out by rule, not by damage."""
        if number:
            self.left_out.append({"number": number, "reason": reason})

    def checksum(self, subject, path, folder=None):
        """Takes a source file of a subject into the checksums, named from the source on, or from a `folder` of it."""
        if folder is not None:
            name = f"{folder.resolve().name}/{path.relative_to(folder).as_posix()}"
        else:
            name = path.relative_to(self.source).as_posix() if path != self.source else path.name
        self._digests.setdefault(str(subject), []).append(f"{name} {digest(path)}")

    def settle(self, remaining):
        """Raises InputError if cases are damaged and that is not allowed, or if none remain."""
        if self.damaged and not self.allow_partial:
            others = len(self.damaged) - 1
            more = f" (and {others} more damaged)" if others else ""
            raise InputError(f"{self.damaged[0]['reason']}{more}; --allow-partial leaves damaged cases out")
        if not remaining:
            damage = f" left, of {len(self.damaged)} damaged ones ({self.damaged[0]['reason']})" if self.damaged else ""
            left = "".join(f"; {entry['number']} {entry['reason']}" for entry in self.left_out)
            raise InputError(f"{self.source}: no labelled images{damage}{left}; check the source and the structure")

    def expect(self, counted, expected, missing=()):
        """Compares totals by name with the complete source's, and raises InputError unless less is allowed.

        `missing` names what is known to lack a partner; complete totals excuse it.
        """
        self.counts["expected"] = {key: f"{counted[key]} of {expected[key]}" for key in expected}
        if counted == expected or self.allow_partial:
            return
        totals = ", ".join(f"{counted[key]} {key} found, {expected[key]} expected" for key in expected)
        lacking = f"; {len(missing)} contours lack their image, first {missing[0]}" if missing else ""
        raise InputError(f"{self.source}: {totals}{lacking}; get the missing part, or allow less with "
                         "--allow-partial")

    def report(self, data):
        """Everything about the source and the data set made from it, as plain values for JSON."""
        from scipy import ndimage

        area, pieces = np.array([(np.count_nonzero(mask), ndimage.label(mask, np.ones((3,) * mask.ndim))[1])
                                 for mask in data.masks]).T
        spacings = [format_shape(f"{v:.3f}" for v in row) for row in data.optional.get("spacing", ())]
        moved = suspected(displacements(data.images, data.masks, data.subject), data.images.shape[-1])
        return {
            "subjects": len(set(data.subject)),
            "images": len(data),
            "images per subject": _counts(data.subject),
            **self.counts,
            "sizes": {format_shape(data.images.shape[1:]): len(data)},
            "spacings (mm)": _counts(spacings),
            "mask pixels": {"least": int(area.min()), "median": float(np.median(area)),
                            "most": int(area.max())},
            "empty masks": data.name[area == 0].tolist(),
            f"masks under {SMALL} pixels": data.name[(area > 0) & (area < SMALL)].tolist(),
            "masks in pieces": data.name[pieces > 1].tolist(),
            "duplicate images": duplicates(data.images, data.name),
            "suspected misalignment (rows, columns)": moved,
            "damaged, left out": self.damaged,
            "left out by rule": self.left_out,
            "sha256 of the sources": self._checksums(),
        }

    def _checksums(self):
        each = {subject: hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
                for subject, lines in sorted(self._digests.items())}
        joined = "\n".join(f"{subject} {value}" for subject, value in each.items())
        return {"all": hashlib.sha256(joined.encode()).hexdigest(), **each}


def duplicates(images, names):
    """Lists of the names of images that are equal in all pixels."""
    groups = {}
    for image, name in zip(images, names, strict=True):
        groups.setdefault(hashlib.sha256(image.tobytes()).digest(), []).append(str(name))
    return [group for group in groups.values() if len(group) > 1]


def contrast(image, mask, reach, ring):
    """The contrast of an image between its mask and the surroundings, for displaced masks.

    `c[i, j] = (mean over the mask − mean over the ring) / deviation of the image`, both displaced by
    (i − reach, j − reach) pixels. The ring is what lies 1 to 1 + `ring` pixels off the mask. Beyond its
    border the image is continued by the border's values.

    Args:
      image: [H, W].
      mask: [H, W], not empty.
      reach, ring: pixels.

    Returns:
      c, [2·reach + 1, 2·reach + 1].
    """
    from scipy import ndimage, signal

    rows, columns = np.nonzero(mask)
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    margin = ring + 1
    inside = np.pad(mask[box] > 0, margin)
    distance = ndimage.distance_transform_edt(~inside)
    around = (distance > 1) & (distance <= margin)
    kernel = inside / inside.sum() - around / around.sum()
    beyond = reach + margin
    padded = np.pad(np.asarray(image, np.float64), beyond, mode="edge")
    part = padded[tuple(slice(side.start, side.stop + 2 * beyond) for side in box)]
    return signal.correlate(part - part.mean(), kernel, mode="valid", method="fft") / (np.std(image) or 1)


def displacements(images, masks, subjects):
    """The displacement of each subject's masks, moved together, that fits the images best.

    The measure is the mean over a subject's images of their `contrast`; its maximum's place is the
    displacement.
    A structure that is darker than its surroundings over the whole data set is sought as such.

    Args:
      images, masks: [n, H, W]; volumes are not looked at, nor empty masks.
      subjects: [n].

    Returns:
      (rows, columns, share, peak) by subject: pixels, down and right positive; the contrast where the masks are as a
      part of the maximum; and whether the measure has a peak there too, within 3/256 of the image's side.
    """
    if images.ndim != 3:
        return {}
    side = min(images.shape[1:])
    reach, ring = max(2, round(REACH * side)), max(1, round(RING * side))
    maps = {}
    for image, mask, subject in zip(images, masks, subjects, strict=True):
        if mask.any():
            maps.setdefault(str(subject), []).append(contrast(image, mask, reach, ring))
    mean = {subject: np.mean(contrasts, axis=0) for subject, contrasts in maps.items()}
    sign = -1 if sum(c[reach, reach] for c in mean.values()) < 0 else 1
    moved = {}
    for subject, c in mean.items():
        row, column = np.unravel_index(np.argmax(sign * c), c.shape)
        share = c[reach, reach] / c[row, column] if c[row, column] else 1.0
        near = max(1, round(NEAR * side))
        around = sign * c[reach - near:reach + near + 1, reach - near:reach + near + 1]
        place = np.array(np.unravel_index(np.argmax(around), around.shape))
        peak = bool(((place > 0) & (place < 2 * near)).all())
        moved[subject] = int(row) - reach, int(column) - reach, float(share), peak
    return moved


def suspected(displacement, side):
    """The subjects whose masks seem to lie beside the structure, with their displacement in rows and columns.

    Those whose displacement is at least 6/256 of the image's side, whose contrast is less than 0.6 of the maximum, and
    whose masks are not at a peak of their own: a structure beside a brighter one, as the right ventricle beside the
    left, is at a peak, though not at the largest. Of the 805 Sunnybrook images' subjects, one (SC-N-06) is: 12 pixels,
    a quarter of the contrast; all others are within 3 pixels and above nine tenths. Of ACDC's right ventricles none is;
    moved by 12 pixels, 15 of 17 were, as were 15 of 15 Sunnybrook subjects.
    """
    return {subject: [row, column] for subject, (row, column, share, peak) in displacement.items()
            if np.hypot(row, column) >= SUSPICIOUS * side and share < SHARE and not peak}


def show(report, console):
    """Prints a short form of a report: counts instead of long lists, and the first few of the problems."""
    table = Table(title="audit", title_justify="left", show_header=False)
    for key, value in report.items():
        table.add_row(key, _in_short(key, value))
    console.print(table, markup=False)


def _in_short(key, value):
    if key == "images per subject":
        return f"{min(value.values())} to {max(value.values())}"
    if key.startswith("sha256"):
        return value["all"]
    if isinstance(value, dict):
        shown = [f"{k}: {v}" for k, v in value.items()]
    elif isinstance(value, list):
        shown = [_item(entry) for entry in value]
    else:
        return str(value)
    few = "; ".join(shown[:6])
    return f"{few}; ... ({len(shown)})" if len(shown) > 6 else few or "none"


def _item(entry):
    if isinstance(entry, dict):
        return f"{entry['number']} {entry['reason']}" if "number" in entry else entry["reason"]
    return " = ".join(entry) if isinstance(entry, list) else str(entry)


def _counts(values):
    return {str(key): number for key, number in sorted(Counter(map(str, values)).items())}
