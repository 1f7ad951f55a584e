"""Segmenting files: data sets, pictures, volumes, DICOM; masks in the input's format and geometry, and overlays."""

import gzip
import io
import tempfile
from pathlib import Path

import numpy as np

from ilnrepro.console import one_line
from ilnrepro.errors import InputError
from ilnrepro.ops.metrics import dice, overlap
from ilnrepro.storage import dataset, files, hdf5
from ilnrepro.use import images, nifti
from ilnrepro.use.segmenter import in_batches


def plan(inputs, output):
    """What is to be read and where its mask goes: [(input, mask file)], checked before any work.

    A folder's files keep their places below it; its hidden files, and what an earlier prediction left in `output`, are
    passed over.

    Raises:
      InputError: a path that is not there, of an unknown format, or two whose masks would have one name.
    """
    output = Path(output)
    found = []
    for path in map(Path, inputs):
        if path.is_dir():
            inside = [p for p in _files(path) if output.resolve() not in p.resolve().parents]
            if not inside:
                raise InputError(f"{path}: holds no image of a known format ({', '.join(images.SUFFIXES)}) outside "
                                 "the output folder; check the path")
            found += [(p, p.relative_to(path).parent) for p in inside]
        elif not path.is_file():
            raise InputError(f"{path}: no such file; check the path")
        elif images.ending(path) not in (*images.SUFFIXES, ".h5"):
            raise InputError(f"{path}: unknown format; give one of .h5, {', '.join(images.SUFFIXES)}")
        else:
            found.append((path, Path()))
    planned, taken = [], {}
    for path, place in found:
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


def predict(segment, path, target, batch=8, progress=lambda done, total: None):
    """Segments one file and writes its mask file and overlays (`...-overlay.png`, of a volume or data set a folder).

    Args:
      segment: of `segmenter.load`.
      progress: called with (images done, images in all).

    Returns:
      mean DSC against the data set's own masks, or None for other files.

    Raises:
      InputError: a file that cannot be read, holds NaN, or an output that cannot be written.
    """
    if images.suffix(path) == ".h5":
        return _predict_data_set(segment, path, target, batch, progress)
    values = images.read(path).values.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: NaN or infinite grey levels; repair it or leave it out")
    slices = values if values.ndim == 3 else values[np.newaxis]
    masks = in_batches(segment, slices, batch, progress)
    _write_mask(target, path, masks.reshape(values.shape))
    overlays = target.with_name(target.name.removesuffix(images.suffix(target)).removesuffix("-mask") + "-overlay.png")
    if values.ndim == 2:
        _write_overlay(overlays, slices[0], masks[0])
    else:
        for k in np.flatnonzero(masks.any(axis=(1, 2))):
            _write_overlay(overlays.with_suffix("") / f"slice-{k:03d}.png", slices[k], masks[k])
    return None


def _predict_data_set(segment, path, target, batch, progress):
    data = dataset.read(path)
    if data.images.ndim != 3:
        raise InputError(f"{path}: holds volumes; this network takes images [n, H, W]")
    masks = in_batches(segment, data.images, batch, progress)
    with hdf5.writing(target) as file:
        file.attrs.update(kind="masks", title=data.title, dataset_checksum=data.checksum, synthetic=data.synthetic)
        file.create_dataset("masks", data=masks, compression="gzip", chunks=(1, *masks.shape[1:]))
        file["masks"].attrs["meaning"] = "predicted: 1 inside the structure, 0 elsewhere"
        for key in ("name", "subject"):
            file[key] = getattr(data, key).astype(object)
    folder = target.with_name(target.stem.removesuffix("-mask") + "-overlay")
    for name, image, mask in zip(data.name, data.images, masks, strict=True):
        _write_overlay(folder / f"{_file_name(name)}.png", image, mask)
    return float(dice(*overlap(data.masks, masks)).mean())


def _file_name(name):
    return "".join(c if c.isalnum() or c in "-_. " else "_" for c in str(name)).lstrip(".") or "_"


def _write_mask(target, path, mask):
    if images.suffix(target) in images.PICTURES:
        _write_picture(target, 255 * mask)
        return
    if images.ending(path) in (".nii", ".nii.gz"):
        content = nifti.mask_like(path, mask)
        files.write(target, gzip.compress(content, mtime=0) if target.suffix == ".gz" else content)
        return
    sitk = images.simpleitk()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    written = sitk.GetImageFromArray(mask.reshape([int(n) for n in reversed(reader.GetSize())]))
    for what in ("Origin", "Spacing", "Direction"):
        getattr(written, f"Set{what}")(getattr(reader, f"Get{what}")())
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / target.name
        try:
            sitk.WriteImage(written, str(made), useCompression=True)
            content = made.read_bytes()
        except (OSError, RuntimeError) as error:
            raise InputError(f"{target}: cannot be made in {folder} ({one_line(error)}); free space there") from error
    files.write(target, content)


def _write_overlay(path, image, mask):
    """The grey image, its 99.5th percentile white, with the mask's rim in red."""
    from scipy import ndimage

    image = image.astype(np.float32)
    low, high = image.min(), np.percentile(image, 99.5)
    grey = np.clip(255 * (image - low) / max(high - low, 1e-12), 0, 255).astype(np.uint8)
    picture = np.repeat(grey[..., np.newaxis], 3, axis=2)
    rim = mask.astype(bool) & ~ndimage.binary_erosion(mask, border_value=1)
    picture[rim] = (255, 0, 0)
    _write_picture(path, picture)


def _write_picture(path, values):
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(values).save(content, Image.registered_extensions()[images.suffix(path)])
    files.write(path, content.getbuffer())
