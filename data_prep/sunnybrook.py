"""The Sunnybrook Cardiac Data (Radau et al. 2009): left ventricle, 45 subjects, 805 labelled images."""

from pathlib import Path

import numpy as np

from data_prep import cases, folder, folds, images, sunnybrook_raw
from data_prep.cases import Case
from ilnrepro.arguments import integer
from ilnrepro.console import one_line
from ilnrepro.errors import InputError
from ilnrepro.preparation import Preparation
from ilnrepro.use import images as readers

CITATION = ("P. Radau et al., Evaluation framework for algorithms segmenting short axis cardiac MRI, "
            "The MIDAS Journal, 2009")
# The MICCAI 2009 challenge's groups (training, validation, online) of 15 subjects each.
_GROUPS = {
    1: {"HF-I": (1, 2, 4, 40), "HF-NI": (3, 4, 34, 36), "HYP": (1, 3, 38, 40), "N": (2, 3, 40)},
    2: {"HF-I": (5, 6, 7, 8), "HF-NI": (7, 11, 31, 33), "HYP": (6, 7, 8, 37), "N": (5, 6, 7)},
    3: {"HF-I": (9, 10, 11, 12), "HF-NI": (12, 13, 14, 15), "HYP": (9, 10, 11, 12), "N": (9, 10, 11)},
}
GROUP = {f"SC-{kind}-{number:02d}": group for group, kinds in _GROUPS.items()
         for kind, numbers in kinds.items() for number in numbers}


def add_arguments(parser):
    """The command line's options."""
    parser.add_argument("--source", type=Path, required=True,
                        help=".npz file, folder of image and mask PNGs, or the raw release's folder")
    parser.add_argument("--contour", choices=("i", "o"), default="i",
                        help="of the raw release: i endocardium, o epicardium (end-diastole only)")
    parser.add_argument("--folds", choices=("challenge", "random"), default="challenge",
                        help="the challenge's three groups, or a random split by subject")
    parser.add_argument("--seed", type=integer(0), default=0, help="of random folds")
    parser.add_argument("--sites", choices=("pathology",), help="keep each subject's group of patients as its site: "
                        "HF-I and HF-NI (heart failure with and without infarction), HYP (hypertrophy), N (normal)")


def source(arguments):
    """The file or folder that checksums are relative to."""
    return arguments.source


def prepare(arguments, audit):
    """The data set from a file (.npz), a folder of PNGs or the raw release, which is recognised by its content.

    Raises:
      InputError: a source that is missing, unknown, damaged or incomplete.
    """
    path, contour = arguments.source, arguments.contour
    raw = path.is_dir() and not _subfolder(path, "image")
    if contour == "o" and not raw:
        raise InputError(f"--contour o: {path} holds endocardial masks only; give the raw release's folder")
    if raw:
        labelled = sunnybrook_raw.read_cases(path, contour, audit)
    else:
        labelled = _from_pngs(path, audit) if path.is_dir() else _from_npz(path, audit)
    part = {"i": "endocardium", "o": "epicardium"}[contour]
    data = cases.data_set(labelled, audit, lambda subject: _folds(subject, arguments, audit),
                          title=f"Sunnybrook Cardiac Data, LV {part}",
                          structure="LV" if contour == "i" else "LV with myocardium",
                          source=path.resolve().name, licence="CC0-1.0", citation=CITATION,
                          preparation=Preparation(stretch=raw))
    if raw:
        sunnybrook_raw.check_totals(data, contour, audit)
    if arguments.sites:
        data.optional["site"] = _pathologies(data.subject)
    return data


def _pathologies(subjects):
    """The group of patients of each subject: 'HF-I' of 'SC-HF-I-01'."""
    for subject in subjects:
        if not sunnybrook_raw.SUBJECT.search(subject):
            raise InputError(f"--sites pathology: the subject {str(subject)!r} does not tell its group as SC-HF-I-01 "
                             "does; name it as the release does or leave the option out")
    return np.array([subject.removeprefix("SC-").rpartition("-")[0] for subject in subjects])


def _folds(subject, arguments, audit):
    """The challenge's groups if the subjects have them and they are wanted, else a seeded split."""
    fold = folds.known_groups(subject, GROUP) if arguments.folds == "challenge" else None
    audit.counts["folds"] = "the challenge's groups" if fold is not None else f"random, seed {arguments.seed}"
    return folds.random_split(subject, 3, arguments.seed) if fold is None else fold


def _from_npz(path, audit):
    """Cases from an .npz file with image [n, H, W], mask, subject and name."""
    keys = ("image", "mask", "subject", "name")
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder; check the path")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in keys if key not in file]
            arrays = [] if missing else [file[key] for key in keys]
    except Exception as error:  # zipfile and zlib raise their own for a damaged file
        reason = one_line(error)
        raise InputError(f"{path}: cannot be read as .npz ({reason}); get it again") from error
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}; give an .npz with {', '.join(keys)}")
    image, mask, subject, name = arrays
    numbers = image.dtype.kind in "biuf" and mask.dtype.kind in "biuf"
    fit = image.ndim == 3 and mask.shape == image.shape and subject.shape == name.shape == (len(image),)
    if not (numbers and fit):
        shapes = ", ".join(f"{key} {array.shape}" for key, array in zip(keys, arrays, strict=True))
        raise InputError(f"{path}: {shapes} do not fit together; give numbers [n, H, W], names [n]")
    audit.checksum("all subjects", path)
    labelled = []
    for i, called in enumerate(name.astype(str)):
        with audit.case(called):
            where = f"{path}: {called}"
            labelled.append(Case(called, str(subject[i]), readers.grey(image[i], where),
                              images.binary(mask[i], where)))
    return labelled


def _from_pngs(path, audit):
    """Cases from subfolders of image and mask PNGs with the same names."""
    def subject_of(name):
        match = sunnybrook_raw.SUBJECT.search(name)
        if not match:
            raise InputError(f"{path}: {name}: no subject such as SC-HF-I-01 in the name; "
                             "name it as the release does")
        return sunnybrook_raw.padded(match[0])

    mask_folder = _subfolder(path, "mask")
    if mask_folder is None:
        raise InputError(f"{path}: neither mask nor masks in it; give subfolders of images and of masks")
    image_folder = _subfolder(path, "image")
    elsewhere = [p for p in images.files_in(path)[0] if not {image_folder, mask_folder} & set(p.parents)]
    labelled = folder.read_cases(image_folder, mask_folder, subject_of, audit, (".png",))
    audit.counts["files passed over"]["beside images and masks"] = len(elsewhere)
    return labelled


def _subfolder(path, name):
    """The subfolder of that name or its plural, or None. Raises InputError if there are both."""
    present = [path / n for n in (name, name + "s") if (path / n).is_dir()]
    if len(present) > 1:
        raise InputError(f"{path}: both {name} and {name}s in it; keep one of them")
    return present[0] if present else None
