"""A user's own images: a folder of images, a folder of masks, and a pattern that finds the subject in a name."""

import re
from pathlib import Path

import numpy as np

from data_prep import cases, folds, images
from data_prep.cases import Case
from ilnrepro.arguments import integer
from ilnrepro.errors import InputError
from ilnrepro.preparation import AS_IT_IS
from ilnrepro.use import images as readers


def add_arguments(parser):
    """The command line's options."""
    parser.add_argument("--images", type=Path, required=True, help="folder of images or volumes")
    parser.add_argument("--masks", type=Path, required=True, help="folder of masks with the images' names")
    parser.add_argument("--subject-pattern", required=True, metavar="REGEX",
                        help="finds the subject in a path below --images: its first group, or all it matches")
    parser.add_argument("--structure", default="structure", help="what the masks show")
    parser.add_argument("--title", default="", help="default: the folder's name and the structure")
    parser.add_argument("--label", type=int, metavar="N", help="the masks' value to take, of several structures")
    parser.add_argument("--size", type=int, help="pixels a side, cropped or padded to")
    parser.add_argument("--spacing", type=float, metavar="MM", help="with --size: resample to this pixel size")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=integer(0), default=0, help="of the folds")
    parser.add_argument("--keep-empty", action="store_true", help="keep images whose masks are empty")


def source(arguments):
    """The folder of images."""
    return arguments.images


def prepare(arguments, audit):
    """The data set from the command line's `arguments`; see `read_cases`."""
    if arguments.spacing is not None and arguments.size is None:
        raise InputError("--spacing: resampled images need a common size; give --size too")
    preparation = AS_IT_IS if arguments.size is None else cases.cropping(arguments.size, arguments.spacing)
    labelled = read_cases(arguments.images, arguments.masks, subject_finder(arguments.subject_pattern), audit,
                       preparation=preparation, label=arguments.label)
    if labelled and arguments.label is not None and not any(np.any(case.mask) for case in labelled):
        raise InputError(f"--label: no mask in {arguments.masks} holds {arguments.label}; look the number up")
    name, structure = arguments.images.resolve().name, arguments.structure

    def split(subject):
        return folds.random_split(subject, arguments.folds, arguments.seed)

    return cases.data_set(labelled, audit, split, arguments.keep_empty, preparation, structure=structure, source=name,
                          title=arguments.title or f"{name}, {structure}", licence="", citation="")


def subject_finder(pattern):
    """The function from a name to its subject by a regular expression. Raises InputError if it is not one."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--subject-pattern: {pattern!r} is no regular expression ({error}); correct it"
                         ) from error

    def subject_of(name):
        match = compiled.search(name)
        subject = match and (match[1] if compiled.groups else match[0])
        if not subject:
            raise InputError(f"{name}: --subject-pattern {pattern!r} finds no subject in it; change it")
        return subject

    return subject_of


def read_cases(image_folder, mask_folder, subject_of, audit, suffixes=readers.SUFFIXES, preparation=AS_IT_IS,
               label=None):
    """A case for each image, or each slice of a volume, whose mask has the same path below its folder.

    Endings may differ. Masks hold 0 and 1, or 0 and 255, or with `label` any whole numbers. Slices are named by number
    from 1.

    Args:
      subject_of: from an image's path below its folder to its subject; may raise InputError.
      audit: told of damaged cases (without partner, of other size than the mask, not square, ...) and of
        files passed over.
      suffixes: endings of the files to read.
      preparation: see `cases.prepared`; without a size images stay as they are and must be square.
      label: the masks' value to take.

    Raises:
      InputError: a folder that is missing, or holds no images.
    """
    image_files, mask_files = (_by_stem(folder, suffixes, audit) for folder in (image_folder, mask_folder))
    if not image_files:
        raise InputError(f"{image_folder}: no image files ({', '.join(suffixes)}); check the path")
    labelled = []
    for name in sorted(set(image_files) | set(mask_files)):
        with audit.case(name):
            for here, there, folder in ((image_files, mask_files, mask_folder),
                                        (mask_files, image_files, image_folder)):
                if len(there.get(name, ())) > 1:
                    raise InputError(f"{there[name][1]}: {there[name][0].name} has the same name but for the ending; "
                                     "keep one of them")
                if name not in there:
                    raise InputError(f"{here[name][0]}: no partner named {name} in {folder}; "
                                     "give every image one mask of the same name")
            subject, image_path, mask_path = subject_of(name), image_files[name][0], mask_files[name][0]
            labelled += _read_pair(name, image_path, mask_path, subject, label, preparation, audit)
            audit.checksum(subject, image_path, image_folder)
            audit.checksum(subject, mask_path, mask_folder)
    return labelled


def _by_stem(folder, suffixes, audit):
    """Lists of the folder's image files by their path below it without ending."""
    files, passed = images.files_in(folder)
    readable = [path for path in files if readers.ending(path) in suffixes]
    counts = audit.counts.setdefault("files passed over", {})
    for reason, number in {**passed, "others": len(files) - len(readable)}.items():
        counts[reason] = counts.get(reason, 0) + number
    by_stem = {}
    for path in readable:
        by_stem.setdefault(readers.stem(path.relative_to(folder).as_posix()), []).append(path)
    return by_stem


def _read_pair(name, image_path, mask_path, subject, label, preparation, audit):
    """The cases of one pair of files: one, or one a slice."""
    picture, mask = images.pair(image_path, mask_path, audit)
    values, mask = readers.grey(picture.values, image_path), images.binary(mask, mask_path, label)
    slices = [(name, values, mask, {})]
    if values.ndim == 3:
        slices = [(f"{name}-slice{number:03d}", values[number - 1], mask[number - 1], {"slice": number})
                  for number in range(1, len(values) + 1)]
    if preparation.size is None:
        images.check_square(values, image_path)
        return [Case(name, subject, image, mask, picture.spacing, details) for name, image, mask, details in slices]
    return [Case(name, subject, *cases.prepared(name, image, mask, picture.spacing, preparation, audit), details)
            for name, image, mask, details in slices]
