"""Sunnybrook Cardiac Data (Radau et al. 2009): the left ventricle, 45 subjects, 805 labelled short-axis images."""

import re

import numpy as np

from ilnrepro.dataset import DataSet
from ilnrepro.errors import InputError

CITATION = ("P. Radau et al., Evaluation framework for algorithms segmenting short axis cardiac MRI, "
            "The MIDAS Journal, 2009")
# The MICCAI 2009 challenge's groups: training, validation, online.
_GROUP = re.compile(r"([123])$")


def from_npz(path):
    """The data set from an .npz file with `image` [n, H, W], `mask`, `subject`, `part` and `name`.

    The last character of `part` (1, 2 or 3) is the challenge's group and becomes the fold.

    Raises:
      InputError: not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in ("image", "mask", "subject", "part", "name") if key not in file]
            if missing:
                raise InputError(f"{path}: lacks {', '.join(missing)}; give an .npz with image, mask, subject, part, name")
            image, mask, subject, part, name = (file[key] for key in ("image", "mask", "subject", "part", "name"))
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as .npz ({error}); get it again") from error
    except Exception as error:  # zipfile and zlib raise their own for a damaged file
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read as .npz ({error}); get it again") from error
    return _data_set(image, mask, subject, _folds(part, path), name, path.name)


def _folds(part, path):
    groups = [_GROUP.search(str(p)) for p in part]
    if not all(groups):
        bad = next(str(p) for p, g in zip(part, groups, strict=True) if not g)
        raise InputError(f"{path}: part: {bad!r} does not end in the challenge group 1, 2 or 3")
    return np.array([int(g.group(1)) for g in groups])


def _data_set(images, masks, subject, fold, name, source):
    return DataSet(images=images, masks=masks, subject=subject.astype(str), name=name.astype(str), fold=fold,
                   title="Sunnybrook Cardiac Data, LV endocardium", structure="LV", source=source, licence="CC0-1.0",
                   citation=CITATION, synthetic=False)
