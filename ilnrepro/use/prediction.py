"""Segmenting files: data sets, pictures, volumes, DICOM; masks in the input's format and geometry, and overlays."""

import gzip
import io
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ilnrepro.console import one_line
from ilnrepro.errors import InputError
from ilnrepro.ops.metrics import dice, fullest_slice, overlap
from ilnrepro.storage import dataset, files, hdf5
from ilnrepro.use import images, nifti
from ilnrepro.use.segmenter import all_in_batches, disagreement, own_masks
from ilnrepro.use.structures import Structures, joined

# The rim of each structure in an overlay, colours that the colour-blind tell apart (Okabe and Ito); of one alone red.
_RED = (255, 0, 0)
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))


def plan(inputs, output):
    """[(input file, mask file)] of a prediction, checked before any work.

    A folder's files keep their places below it. Its hidden files, and files of an earlier prediction in `output`, are
    left out.

    Raises:
      InputError: a path does not exist or has an unknown format, or two masks would have the same name.
    """
    output = Path(output)
    placed = []
    for path in map(Path, inputs):
        if path.is_dir():
            inside = [p for p in _files(path) if output.resolve() not in p.resolve().parents]
            if not inside:
                raise InputError(f"{path}: holds no image of a known format ({', '.join(images.SUFFIXES)}) outside "
                                 "the output folder; check the path")
            placed += [(p, p.relative_to(path).parent) for p in inside]
        elif not path.is_file():
            raise InputError(f"{path}: no such file; check the path")
        elif images.ending(path) not in (*images.SUFFIXES, ".h5"):
            raise InputError(f"{path}: unknown format; give one of .h5, {', '.join(images.SUFFIXES)}")
        else:
            placed.append((path, Path()))
    planned, taken = [], {}
    for path, place in placed:
        target = output / place / f"{Path(images.stem(path)).name}-mask{_mask_suffix(path)}"
        if target in taken:
            raise InputError(f"{path}: its mask would have the name of that of {taken[target]}; give them apart")
        taken[target] = path
        planned.append((path, target))
    return planned


def _files(folder):
    return [p for p in files.below(folder)[0] if images.ending(p) in (*images.SUFFIXES, ".h5")
            and not any(part.startswith(".") for part in p.relative_to(folder).parts)]


def _mask_suffix(path):
    """The input's own, but no lossy format for a mask, and of two formats that keep pixels apart the one-file form."""
    suffix = images.ending(path)
    return {".dcm": ".nii.gz", ".jpg": ".png", ".jpeg": ".png", ".mhd": ".mha", ".nhdr": ".nrrd"}.get(suffix, suffix)


class Outcome(NamedTuple):
    """The scores of a file's prediction.

    Attributes:
      dice: mean DSC against a data set's own masks; None for other files.
      disagreement: of an ensemble, see `segmenter.disagreement`; for a data set the mean over its images. None for one
        network, and for several structures.
      pixels: of each label, by its structure's name; None for one structure.
      contested: number of pixels that several structures claimed.
    """

    dice: float | None
    disagreement: float | None
    pixels: dict[str, int] | None = None
    contested: int = 0


def predict(segment, path, target, batch=8, progress=lambda done, total: None, probability=False):
    """Segments one file and writes its mask file and overlays (`...-overlay.png`, of a volume or data set a folder).

    Images are prepared as those of the network's data set, and masks brought back to the file's own grid. Where an
    ensemble predicted, its uncertainty is written beside the mask, as `...-uncertainty`. Of several structures the mask
    is a label map.

    Args:
      segment: of `segmenter.load` or `structures.load_together`.
      progress: called with (images done, images in all).
      probability: whether the structure's probability is written as well, as `...-probability`.

    Returns:
      an `Outcome`.

    Raises:
      InputError: a file that cannot be read, holds NaN, tells no pixel size though that is needed, or an output that
        cannot be written.
    """
    if images.suffix(path) == ".h5":
        return _predict_data_set(segment, path, target, batch, progress, probability)
    picture = images.read(path)
    values = images.grey(picture.values, path)
    slices = values if values.ndim == 3 else values[np.newaxis]
    outputs = outputs_of(segment, slices, [picture.spacing] * len(slices), path, batch, progress)
    masks, each, structures = outputs["mask"], own_masks(outputs), _structures(segment)
    _write_like(target, path, masks.reshape(values.shape), structures)
    for name in _maps(outputs, probability):
        # A BMP holds no more than 8 bits.
        _write_like(_beside(target, name, ".png" if images.suffix(target) == ".bmp" else None), path,
                    outputs[name].reshape(values.shape))
    overlays = _beside(target, "overlay", ".png")
    if values.ndim == 2:
        _write_overlay(overlays, slices[0], masks[0], structures)
    else:
        for k in np.flatnonzero(masks.any(axis=(1, 2))):
            _write_overlay(overlays.with_suffix("") / f"slice-{k + 1:03d}.png", slices[k], masks[k], structures)
    return Outcome(None, None if each is None else disagreement(each), *_counts(outputs, structures))


def _structures(segment):
    """The names of several structures; none of one network."""
    return segment.names if isinstance(segment, Structures) else ()


def _counts(outputs, structures):
    """What an `Outcome` tells of a label map."""
    if not structures:
        return None, 0
    pixels = np.bincount(outputs["mask"].ravel(), minlength=len(structures) + 1)[1:]
    return dict(zip(structures, map(int, pixels), strict=True)), int(outputs["contested"].sum())


def masks_of(segment, slices, spacings, path, batch=8, progress=lambda done, total: None):
    """Masks uint8 `[n, H, W]` of slices, as `outputs_of`."""
    return outputs_of(segment, slices, spacings, path, batch, progress)["mask"]


def outputs_of(segment, slices, spacings, path, batch=8, progress=lambda done, total: None):
    """{name: `[n, H, W]`} of the outputs of `segment` for slices `[n, H, W]` as in the file `path`.

    `spacings` are their pixels' sizes in mm, or None. Networks of several structures each see the slices in their own
    grid, and are joined in the slices'.

    Raises:
      InputError: a pixel's size is needed and None.
    """
    if isinstance(segment, Structures):
        def of_model(k, model):
            return outputs_of(model, slices, spacings, path, batch, lambda done, total: progress(
                k * total + done, len(segment.models) * total))

        return joined(segment.names, [of_model(k, model) for k, model in enumerate(segment.models)])
    preparation = segment.preparation
    if segment.slab:
        batch = len(slices)
    if preparation.spacing and preparation.assumed and any(spacing is None for spacing in spacings):
        warnings.warn(f"{path}: tells no pixel size; {preparation.assumed:g} mm assumed", stacklevel=2)
    try:
        prepared = [preparation.image(one, spacing) for one, spacing in zip(slices, spacings, strict=True)]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    outputs = all_in_batches(segment, prepared, batch, progress)
    return {name: np.stack([preparation.back(output, one.shape, spacing)
                            for output, one, spacing in zip(of_all, slices, spacings, strict=True)])
            for name, of_all in outputs.items()}


def _maps(outputs, probability):
    """The names of the probability maps to write."""
    wanted = ("probability", "uncertainty") if probability else ("uncertainty",)
    return [name for name in outputs if name.partition("-")[0] in wanted]


def _beside(target, name, suffix=None):
    """The file beside the mask `target` for another output of the same image."""
    ending = images.suffix(target)
    stem = target.name.removesuffix(ending).removesuffix("-mask")
    return target.with_name(f"{stem}-{_file_name(name)}{suffix or ending}")


def _predict_data_set(segment, path, target, batch, progress, probability):
    data = dataset.read(path)
    if (data.images.ndim == 4) != bool(segment.slab):
        kinds = "volumes", "images [n, H, W]"
        raise InputError(f"{path}: holds {kinds[data.images.ndim == 3]}; this network takes {kinds[not segment.slab]}")
    spacings = data.optional.get("spacing", [None] * len(data))
    if segment.slab:
        of_each = []
        for k, (volume, spacing) in enumerate(zip(data.images, spacings, strict=True), 1):
            of_pixel = [None if spacing is None else tuple(spacing[-2:])] * len(volume)
            of_each.append(outputs_of(segment, volume, of_pixel, path))
            progress(k, len(data))
        outputs = {name: np.stack([one[name] for one in of_each]) for name in of_each[0]}
    else:
        outputs = outputs_of(segment, data.images, spacings, path, batch, progress)
    masks, each, structures = outputs["mask"], own_masks(outputs), _structures(segment)
    apart = None if each is None else [disagreement(of_image) for of_image in each.swapaxes(0, 1)]
    with hdf5.writing(target) as file:
        file.attrs.update(kind="masks", title=data.title, dataset_checksum=data.checksum, synthetic=data.synthetic)
        maps = {name: outputs[name] for name in _maps(outputs, probability)}
        for name, values in {"masks": masks, **maps}.items():
            file.create_dataset(name, data=values, compression="gzip", chunks=(1, *masks.shape[1:]))
            file[name].attrs["meaning"] = _MEANINGS[name.partition("-")[0]]
        if structures:
            file["masks"].attrs["meaning"] = f"predicted: {legend(structures)}, 0 elsewhere"
        if apart is not None:
            file["disagreement"] = apart
            file["disagreement"].attrs["meaning"] = _MEANINGS["disagreement"]
        for key in ("name", "subject"):
            file[key] = getattr(data, key).astype(object)
    folder = target.with_name(target.stem.removesuffix("-mask") + "-overlay")
    for name, image, mask in zip(data.name, data.images, masks, strict=True):
        if mask.ndim == 3:
            k = fullest_slice(mask)
            image, mask = image[k], mask[k]
        _write_overlay(folder / f"{_file_name(name)}.png", image, mask, structures)
    return Outcome(_own_dice(data, masks, structures), None if apart is None else float(np.mean(apart)),
                   *_counts(outputs, structures))


def _own_dice(data, masks, structures):
    """The mean DSC of masks, or of the label of the data set's structure, against the data set's own masks."""
    if structures and data.structure not in structures:
        return None
    label = 1 + structures.index(data.structure) if structures else 1
    return float(dice(*overlap(data.masks, (masks == label).astype(np.uint8))).mean())


def legend(structures):
    """Which label is which: '1 LV, 2 RV'."""
    return ", ".join(f"{label} {name}" for label, name in enumerate(structures, 1))


_MEANINGS = {
    "masks": "predicted: 1 inside the structure, 0 elsewhere",
    "probability": "of the structure, of several networks the mean",
    "uncertainty": "standard deviation over the networks of the structure's probability",
    "disagreement": "1 - mean Dice of each two networks' masks, of each image",
}


def _file_name(name):
    return "".join(c if c.isalnum() or c in "-_. " else "_" for c in str(name)).lstrip(".") or "_"


def _write_like(target, path, values, structures=()):
    """Writes a mask, or a map of numbers from 0 to 1, in the geometry of the image in the file `path`; in a picture a
    mask is 0 and 255, a label map the labels, shown in the structures' colours, and a map of numbers 0 to 65535."""
    if images.suffix(target) in images.PICTURES and structures and values.dtype.kind == "u":
        _write_picture(target, values, [(0, 0, 0), *_colours(structures)])
        return
    if images.suffix(target) in images.PICTURES:
        _write_picture(target, 255 * values if values.dtype.kind == "u" else
                       np.rint(65535 * values.astype(float)).astype(np.uint16))
        return
    if images.ending(path) in (".nii", ".nii.gz"):
        content = nifti.like(path, values)
        files.write(target, gzip.compress(content, mtime=0) if target.suffix == ".gz" else content)
        return
    sitk = images.simpleitk()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    written = sitk.GetImageFromArray(values.reshape([int(n) for n in reversed(reader.GetSize())]))
    for what in ("Origin", "Spacing", "Direction"):
        getattr(written, f"Set{what}")(getattr(reader, f"Get{what}")())
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / target.name
        try:
            sitk.WriteImage(written, str(temporary), useCompression=True)
            content = temporary.read_bytes()
        except (OSError, RuntimeError) as error:
            raise InputError(f"{target}: cannot be written in {folder} ({one_line(error)}); free space "
                             "there") from error
    files.write(target, content)


def _colours(structures):
    """A colour for each structure; red where there is one network alone."""
    return [_COLOURS[k % len(_COLOURS)] for k in range(len(structures))] or [_RED]


def _write_overlay(path, image, mask, structures=()):
    """The grey image, its 99.5th percentile white, with the mask's rim in red; of a label map each structure's rim in
    its colour, and below the image a legend."""
    from scipy import ndimage

    image = image.astype(np.float32)
    low, high = image.min(), np.percentile(image, 99.5)
    grey = np.clip(255 * (image - low) / max(high - low, 1e-12), 0, 255).astype(np.uint8)
    picture = np.repeat(grey[..., np.newaxis], 3, axis=2)
    for label, colour in enumerate(_colours(structures), 1):
        inside = mask == label
        picture[inside & ~ndimage.binary_erosion(inside, border_value=1)] = colour
    _write_picture(path, np.concatenate([picture, *_legend(structures, picture.shape[1])]))


_LINE = 14  # pixels a line of a legend


def _legend(structures, width):
    """Lines `[14, width, 3]` for below an overlay, each with a structure's colour, label and name."""
    from PIL import Image, ImageDraw

    for label, (name, colour) in enumerate(zip(structures, _colours(structures), strict=False), 1):
        line = Image.new("RGB", (width, _LINE))
        text = f"{label} {name}".encode("latin-1", "replace").decode("latin-1")  # all that each font has
        draw = ImageDraw.Draw(line)
        draw.rectangle((3, 4, 8, 9), fill=colour)
        draw.text((13, 1), text, fill=(255, 255, 255))
        yield np.asarray(line)


def _write_picture(path, values, palette=None):
    """Writes pixels; with a palette, a list of colours, they are its indices."""
    from PIL import Image

    content, picture = io.BytesIO(), Image.fromarray(values)
    if palette:
        picture.putpalette(sum(palette, ()))
    picture.save(content, Image.registered_extensions()[images.suffix(path)])
    files.write(path, content.getbuffer())
