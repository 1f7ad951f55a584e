"""The ACDC data, Automated Cardiac Diagnosis Challenge (Bernard et al. 2018): short-axis volumes at two phases.

Layout, anywhere below the source:
  patient001/patient001_frame01.nii.gz, patient001_frame01_gt.nii.gz, Info.cfg
Labels: 1 right ventricle, 2 myocardium, 3 left ventricle.
"""

import re
from pathlib import Path

import numpy as np

from data_prep import cases, folds, images
from data_prep.cases import Case
from ilnrepro.arguments import integer
from ilnrepro.errors import InputError
from ilnrepro.use import images as readers

CITATION = ("O. Bernard et al., Deep learning techniques for automatic MRI cardiac multi-structures "
            "segmentation and diagnosis: is the problem solved?, IEEE Trans. Medical Imaging 37, 2018")
LABEL = {"rv": 1, "myo": 2, "lv": 3}
GROUPS = ("NOR", "MINF", "DCM", "HCM", "RV")
_FILE = re.compile(r"(patient\d+)_frame(\d+)(_gt)?\.nii(\.gz)?", re.IGNORECASE)


def add_arguments(parser):
    """The command line's options."""
    parser.add_argument("--source", type=Path, required=True, help="the release's folder")
    parser.add_argument("--structure", choices=tuple(LABEL), required=True)
    parser.add_argument("--size", type=int, default=256, help="pixels a side, cropped or padded to")
    parser.add_argument("--spacing", type=float, metavar="MM", help="resample to this pixel size")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=integer(0), default=0, help="of the folds")
    parser.add_argument("--keep-empty", action="store_true", help="keep slices without the structure (volumes do)")
    parser.add_argument("--volumes", action="store_true", help="a volume for each frame instead of its slices")
    parser.add_argument("--sites", action="store_true", help="tell the patients' disease groups as sites")


def source(arguments):
    """The folder that checksums are relative to."""
    return arguments.source


def prepare(arguments, audit):
    """The data set of one structure, an image for each labelled slice, or a volume for each frame.

    Slices are resampled if a spacing is given, then cropped or padded (with their smallest value) to size² about the
    centre; volumes are filled up to the deepest (`cases.fill_up`). Folds are by patient, and balanced over the diseases
    in the Info.cfg files. All images are one hospital's: sites, where asked for, are the five diseases.

    Raises:
      InputError: the source is missing, not this release, or damaged; size or spacing is not positive; or
        sites are asked for and an Info.cfg does not tell its group.
    """
    preparation = cases.cropping(arguments.size, arguments.spacing)
    volumes, labels, patients = _scan(arguments.source, audit)
    disease = {patient: _disease(folder) for patient, folder in patients.items()}
    read = []
    for key in sorted(volumes | labels):
        with audit.case("_frame".join(key)):
            if arguments.sites and disease[key[0]] == "unknown":
                raise InputError(f"{patients[key[0]] / 'Info.cfg'}: no line `Group: DCM` or the like in it, which "
                                 "tells the site; get it again, or leave --sites out")
            slices, slice_spacing = _read_volume(key, volumes.get(key), labels.get(key), LABEL[arguments.structure],
                                                 preparation, audit)
            for case in slices if arguments.sites else ():
                case.details["site"] = disease[key[0]]
            read += [_joined(slices, slice_spacing)] if arguments.volumes else slices
            for path in (volumes[key], labels[key]):
                audit.checksum(key[0], path)
    if arguments.volumes:
        cases.fill_up(read, audit)
    audit.counts["patients by disease"] = _count({case.subject for case in read}, disease)

    def split(subject):
        return folds.random_split(subject, arguments.folds, arguments.seed, disease)

    structure = arguments.structure.upper()
    return cases.data_set(read, audit, split, arguments.keep_empty or arguments.volumes, preparation,
                          title=f"ACDC, {structure}", structure=structure, source=arguments.source.resolve().name,
                          licence="for research, by the challenge organisers' terms", citation=CITATION,
                          restricted=True)


def _scan(folder, audit):
    """Volumes and label volumes by (patient, frame), patients' folders; none without labels, none there twice."""
    files, passed = images.files_in(folder)
    volumes, labels, patients, twice, others = {}, {}, {}, set(), 0
    for path in files:
        matched = _FILE.fullmatch(path.name)
        if not matched:
            others += 1
            continue
        key, kind = (matched[1].lower(), matched[2]), labels if matched[3] else volumes
        with audit.case(path.name):
            if key in kind:
                twice.add(key)
                raise InputError(f"{path}: the same patient and frame as {kind[key]}; keep one of them")
            kind[key] = path
        patients[key[0]] = path.parent
    if not volumes and not labels:
        raise InputError(f"{folder}: no patient001_frame01.nii.gz or the like in it; give ACDC's folder")
    unlabelled = set(patients) - {patient for patient, _ in labels}
    audit.counts["files passed over"] = {**passed, "others (4-D volumes, ...)": others}
    audit.leave_out(len(unlabelled), "patients without label volumes")
    volumes, labels = ({key: path for key, path in kind.items() if key[0] not in unlabelled and key not in twice}
                       for kind in (volumes, labels))
    return volumes, labels, patients


def _read_volume(key, image_path, label_path, number_of_structure, preparation, audit):
    """(the cases of one volume's slices, the slices' distance in mm)."""
    if image_path is None or label_path is None:
        lacking = "image" if image_path is None else "label"
        raise InputError(f"{image_path or label_path}: no {lacking} volume of this frame; get it again")
    picture, label = images.pair(image_path, label_path, audit)
    label = images.whole(label, label_path)
    unknown = sorted(set(np.unique(label).tolist()) - {0, *LABEL.values()})
    if unknown:
        raise InputError(f"{label_path}: unknown labels {', '.join(f'{v:g}' for v in unknown[:5])}; "
                         "only 0 to 3 are defined: get it again")
    if picture.values.ndim != 3:
        picture.values, label = picture.values[None], label[None]
    values = readers.grey(picture.values, image_path)
    masks = (label == number_of_structure).astype(np.uint8)
    patient, frame = key
    slices = []
    for number, (image, mask) in enumerate(zip(values, masks, strict=True), 1):
        name = f"{patient}_frame{frame}_slice{number:02d}"
        prepared = cases.prepared(name, image, mask, picture.spacing, preparation, audit)
        slices.append(Case(name, patient, *prepared, {"slice": number, "frame": int(frame)}))
    return slices, picture.slice_spacing


def _joined(slices, slice_spacing):
    """The case of a volume with these slices."""
    first = slices[0]
    spacing = (slice_spacing, *first.spacing) if slice_spacing and first.spacing else None
    details = {key: value for key, value in first.details.items() if key != "slice"}
    return Case(first.name.rpartition("_slice")[0], first.subject, np.stack([case.image for case in slices]),
                np.stack([case.mask for case in slices]), spacing, details)


def _disease(folder):
    """The patient's group from Info.cfg (`Group: DCM`), or 'unknown'."""
    try:
        text = (folder / "Info.cfg").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    match = re.search(r"^\s*Group\s*[:=]\s*(\w+)", text, re.MULTILINE)
    return match[1] if match and match[1] in GROUPS else "unknown"


def _count(patients, disease):
    groups = [disease[patient] for patient in patients]
    return {group: groups.count(group) for group in sorted(set(groups))}
