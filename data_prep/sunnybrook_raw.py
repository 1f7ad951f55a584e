"""The raw Sunnybrook release: DICOM frames and contour files, in today's and in the older layout.

Today's, of the Cardiac Atlas Project:
  SCD_IMAGES_01/SCD0000101/CINESAX_300/IM-0003-0048.dcm
  SCD_ManualContours/SC-HF-I-01/contours-manual/IRCCI-expert/IM-0001-0048-icontour-manual.txt
  scd_patientdata.csv                  (PatientID -> OriginalID)
The challenge's own, without the table, the subject being a folder's name on either side:
  challenge_training/SC-HF-I-1/IM-0004-0020.dcm
  Sunnybrook Cardiac MR Database ContoursPart3/TrainingDataContours/SC-HF-I-01/contours-manual/IRCCI-expert/

Frames and contours are found in any folder; the nearest folder with a subject's name gives the subject of a file. A
contour belongs to the frame of its subject with the same last number; prefixes and zero-padding have no meaning.
"""

import csv
import re

import numpy as np

from data_prep import contours, images
from data_prep.cases import Case
from ilnrepro.errors import InputError
from ilnrepro.preparation import stretched
from ilnrepro.use import images as readers

EXPECTED = {"i": {"subjects": 45, "images": 805}, "o": {"subjects": 45}}
SUBJECT = re.compile(r"SC-(HF-I|HF-NI|HYP|N)-(\d+)", re.IGNORECASE)
_PATIENT = re.compile(r"SCD\d+", re.IGNORECASE)
_FRAME = re.compile(r"(.*?)(\d+)(\.dcm|\.dicom|\.ima)?", re.IGNORECASE)
_CONTOUR = re.compile(r"(.*?(\d+))-(i|o|p1|p2)contour-manual\.txt", re.IGNORECASE)
_MISSING = "contours without image"


def read_cases(folder, contour, audit):
    """A case for each contour of one kind that has its frame.

    Args:
      contour: 'i' for the endocardium, 'o' for the epicardium.
      audit: told of damaged cases and of everything passed over.

    Raises:
      InputError: no such folder, neither layout, or a table that does not name the patients.
    """
    readers.simpleitk()
    frames, outlines = _scan(folder, contour, audit)
    labelled = []
    audit.counts[_MISSING] = []
    for subject, by_number in sorted(outlines.items()):
        series = frames.get(subject, {})
        try:
            contoured = _series(subject, series, by_number)
        except InputError as error:
            with audit.case(subject):
                raise error
            continue
        for number, paths in sorted(by_number.items()):
            if number not in contoured:
                audit.counts[_MISSING] += [path.relative_to(folder).as_posix() for path in paths]
                continue
            with audit.case(paths[0].relative_to(folder)):
                labelled.append(_read_case(subject, contoured[number], paths))
                for path in (contoured[number][0], paths[0]):
                    audit.checksum(subject, path)
    number = sum(len(by_number) for series in frames.values() for by_number in series.values())
    audit.counts["images without contour"] = number - len(labelled)
    _number_slices(labelled)
    return labelled


def check_totals(data, contour, audit):
    """Raises InputError unless the release is complete, or less is allowed."""
    totals = {"subjects": len(set(data.subject)), "images": len(data)}
    missing = audit.counts[_MISSING]
    expected = EXPECTED[contour]
    if "images" not in expected and missing:  # the number is not known, so each contour must have its frame
        expected = {**expected, "images": len(data) + len(missing)}
    audit.expect({key: totals[key] for key in expected}, expected, missing)


def _scan(folder, contour, audit):
    """Frames, subject -> series -> number -> paths, and the wanted contours, subject -> number -> paths."""
    files, passed = images.files_in(folder)
    patients = None
    frames, outlines, others = {}, {}, 0
    passed_over = {**passed, "contours of other kinds": 0, "others": 0}
    for path in files:
        frame, outline = _FRAME.fullmatch(path.name), _CONTOUR.fullmatch(path.name)
        frame = frame if frame and readers.ending(path) == ".dcm" else None
        if not (frame or outline):
            others += 1
            continue
        if outline and outline[3].lower() != contour:
            passed_over["contours of other kinds"] += 1
            continue
        patient = _nearest(path, folder, _PATIENT)
        if frame and patient and patients is None:
            patients = _patients(files, folder)
        subject = _nearest_subject(path, folder) or (patients or {}).get(patient)
        if not subject:
            why = f"patient {patient} is not in the table" if patient else "no folder names its subject"
            audit.damaged.append({"item": path.relative_to(folder).as_posix(),
                                  "reason": f"{path}: {why}; restore the release's names and its table"})
        elif outline:
            outlines.setdefault(subject, {}).setdefault(int(outline[2]), []).append(path)
        else:
            series = frames.setdefault(subject, {}).setdefault((path.parent, frame[1]), {})
            series.setdefault(int(frame[2]), []).append(path)
    passed_over["others"] = others
    audit.counts["files passed over"] = passed_over
    wanted = {"frames (IM-*.dcm)": frames, f"contours (*-{contour}contour-manual.txt)": outlines}
    for what, some in wanted.items():
        if not some and not audit.damaged:
            raise InputError(f"{folder}: no {what} in it; give the raw release, or subfolders of PNGs, image "
                             "and mask")
    return frames, outlines


def _nearest(path, folder, pattern):
    """The name of the nearest folder above that is all of `pattern`, upper case, or None."""
    names = [part for part in reversed(path.relative_to(folder).parts[:-1]) if pattern.fullmatch(part)]
    return names[0].upper() if names else None


def _nearest_subject(path, folder):
    name = _nearest(path, folder, SUBJECT)
    return name and padded(name)


def padded(name):
    """A subject's name with at least two digits: SC-HF-I-1 -> SC-HF-I-01. None if it is no subject's name."""
    match = SUBJECT.fullmatch(name.strip())
    return f"SC-{match[1].upper()}-{int(match[2]):02d}" if match else None


def _patients(files, folder):
    """Subject by patient, from the table that lies in the tree."""
    for path in files:
        if path.suffix.lower() != ".csv":
            continue
        try:
            rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            if "patientdata" in path.name.lower():
                raise InputError(f"{path}: cannot be read as a table ({error}); get it again") from error
            continue
        if not rows or not {"PatientID", "OriginalID"} <= set(rows[0]):
            continue
        return _subject_by_patient(rows, path)
    raise InputError(f"{folder}: no table with PatientID and OriginalID (scd_patientdata.csv), "
                     "without which SCD... folders have no names; add it")


def _subject_by_patient(rows, path):
    """The table's rows as a dictionary. Raises InputError for names that are no subject's, or not unique."""
    patients = {}
    for number, row in enumerate(rows, 2):
        patient, name = ((row[key] or "").strip() for key in ("PatientID", "OriginalID"))
        if not patient and not name:
            continue
        subject = padded(name)
        if subject is None or patient.upper() in patients or subject in patients.values():
            raise InputError(f"{path}: line {number}: patient {patient!r}, OriginalID {name!r}: no subject's "
                             "name, or named twice; get the table again")
        patients[patient.upper()] = subject
    return patients


def _series(subject, series, outlines):
    """The frames by number of the one series that the contours belong to; long-axis series do not count.

    Of several series with frames of the contours' numbers it is the one that has them all, as beside a scout's few.

    Raises:
      InputError: all the contours' numbers occur in two series, or some in two and all in none.
    """
    short_axis = {key: frames for key, frames in series.items() if "SAX" in key[0].name.upper()} or series
    fitting = {key: frames for key, frames in short_axis.items() if set(frames) & set(outlines)}
    complete = {key: frames for key, frames in fitting.items() if set(outlines) <= set(frames)}
    fitting = complete if len(complete) == 1 else fitting
    if len(fitting) > 1:
        first, second = (f"{folder}/{prefix}*" for folder, prefix in sorted(fitting)[:2])
        raise InputError(f"{second}: a second series for {subject} beside {first}, with frames of the same "
                         "contours; keep the one that was contoured")
    return next(iter(fitting.values()), {})


def _read_case(subject, frames, outlines):
    """The case of a frame and its contour."""
    if len(outlines) > 1:
        raise InputError(f"{outlines[1]}: a second contour for the frame of {outlines[0]}; keep one of them")
    if len(frames) > 1:
        raise InputError(f"{frames[1]}: a second frame of the series and number of {frames[0]}; keep one of them")
    path, frame = outlines[0], frames[0]
    picture = readers.read(frame)
    if picture.values.ndim != 2:
        raise InputError(f"{frame}: {len(picture.values)} frames in one file; give one frame a file")
    images.check_square(picture.values, frame)
    mask = contours.mask(contours.read(path), picture.values.shape, path)
    name = f"{subject}-{_CONTOUR.fullmatch(path.name)[1]}"
    return Case(name, subject, stretched(readers.grey(picture.values, frame)), mask, picture.spacing,
                {} if picture.position is None else {"position": picture.position})


def _number_slices(labelled):
    """Gives each case whose slice's position is known the position's rank, from 1, among its subject's."""
    places = {}
    for case in labelled:
        places.setdefault(case.subject, set()).add(np.round(case.details.get("position", np.nan), 1))
    for case in labelled:
        if "position" in case.details:
            place = sorted(places[case.subject]).index(np.round(case.details.pop("position"), 1))
            case.details["slice"] = place + 1
