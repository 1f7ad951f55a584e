"""The CSI 2014 data: CT of the thoracic and lumbar spine with labelled vertebrae (Yao et al. 2012).

Layout, anywhere below the source, a volume and its labels a subject:
  case1.nrrd, case1_label.nrrd (or -label, _mask, _seg; NRRD, MetaImage or NIfTI)
Labels: 0 background, any other whole number a vertebra; here all of them are the spine, as in Kolarik et al. 2020.
"""

import re
from pathlib import Path

import numpy as np

from data_prep import cases, folds, images
from data_prep.cases import Case
from ilnrepro.arguments import integer
from ilnrepro.errors import InputError
from ilnrepro.preparation import Preparation
from ilnrepro.use import images as readers
from ilnrepro.use.images import format_shape

CITATION = ("J. Yao, J. E. Burns, H. Munoz, R. M. Summers, Detection of vertebral body fractures based on cortical "
            "shell unwrapping, MICCAI 2012")
SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd", ".nii", ".nii.gz")
_LABEL = re.compile(r"(.+)[-_](label|labels|mask|seg)", re.IGNORECASE)


def add_arguments(parser):
    """The command line's options."""
    parser.add_argument("--source", type=Path, required=True, help="the folder of volumes")
    parser.add_argument("--size", type=int, default=256, help="pixels a side, resampled to (the paper's: 256)")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=integer(0), default=0, help="of the folds")


def source(arguments):
    """The folder that checksums are relative to."""
    return arguments.source


def prepare(arguments, audit):
    """The data set of the spine, a volume a subject.

    Slices are resampled to size² linearly, masks too and then cut at a half. Volumes of fewer slices than the deepest
    are filled up behind their last slice with their least value and no structure; the audit says by how many.

    Raises:
      InputError: a source that is missing, holds no pairs, or is damaged; a size that is not positive.
    """
    if arguments.size < 1:
        raise InputError(f"--size: {arguments.size} must be positive")
    readers.simpleitk()
    preparation = Preparation((arguments.size, arguments.size), "resize")
    volumes, labels = _scan(arguments.source, audit)
    labelled = []
    for subject in sorted(volumes | labels):
        with audit.case(subject):
            labelled.append(_read(subject, volumes.get(subject), labels.get(subject), preparation, audit))
            for path in (volumes[subject], labels[subject]):
                audit.checksum(subject, path)
    cases.fill_up(labelled, audit)

    def split(subject):
        return folds.random_split(subject, arguments.folds, arguments.seed)

    return cases.data_set(labelled, audit, split, title="CSI 2014 thoracic spine CT", structure="spine",
                          source=arguments.source.resolve().name, licence="by the challenge organisers' terms",
                          citation=CITATION, preparation=preparation)


def _scan(folder, audit):
    """Volumes and label volumes by subject; none of subjects without labels, or there twice."""
    files, passed = images.files_in(folder)
    volumes, labels, twice, others = {}, {}, set(), 0
    for path in files:
        if readers.suffix(path) not in SUFFIXES:
            others += 1
            continue
        name = Path(readers.stem(path)).name
        matched = _LABEL.fullmatch(name)
        subject, kind = (matched[1], labels) if matched else (name, volumes)
        with audit.case(path.name):
            if subject in kind:
                twice.add(subject)
                raise InputError(f"{path}: the same subject as {kind[subject]}; keep one of them")
            kind[subject] = path
    if not labels:
        raise InputError(f"{folder}: no case1.nrrd with case1_label.nrrd or the like in it; give the folder of volumes "
                         "and labels")
    unlabelled = set(volumes) - set(labels)
    audit.counts["files passed over"] = {**passed, "others (.raw beside its header, ...)": others}
    audit.leave_out(len(unlabelled), "volumes without labels")
    return tuple({subject: path for subject, path in kind.items() if subject not in unlabelled | twice}
                 for kind in (volumes, labels))


def _read(subject, image_path, label_path, preparation, audit):
    """The case of one subject."""
    if image_path is None:
        raise InputError(f"{label_path}: no volume of this name without its ending; get it again")
    picture, label = images.pair(image_path, label_path, audit)
    if picture.values.ndim != 3:
        raise InputError(f"{image_path}: image size {format_shape(picture.values.shape)}: one slice is no volume; get "
                         "it again")
    images.check_square(picture.values, image_path)
    label = images.whole(label, label_path)
    if not label.any():
        raise InputError(f"{label_path}: no vertebra in it; leave the pair out, or get it again")
    values = readers.grey(picture.values, image_path)
    step = values.shape[-1] / preparation.size[-1]

    def resized(slices):
        return np.stack([preparation.image(one) for one in slices])

    mask = (resized((label > 0).astype(np.float32)) >= 0.5).astype(np.uint8)
    height, width = picture.spacing
    return Case(subject, subject, resized(values), mask, (picture.slice_spacing, height * step, width * step))
