"""Small folders with the layouts of the releases: Sunnybrook in both layouts, ACDC, CSI 2014, pictures."""

import numpy as np
import SimpleITK as sitk
from PIL import Image

SIDE = 48
SPACING = (1.4, 1.25)  # mm, a pixel's height and width
LITTER = ("Thumbs.db", ".DS_Store", "IM-0001-0001-icontour-manual.txt~",
          ".IM-0001-0001-icontour-manual.txt.swp")


def scene(rng, side=SIDE):
    """An image, int16 [side, side], of a bright cavity in a dark wall, and its contour, [k, 2] x and y."""
    row, column = np.mgrid[:side, :side]
    centre, radius = rng.uniform(0.42, 0.58, 2) * side, rng.uniform(0.12, 0.2) * side
    distance = np.hypot(column - centre[0], row - centre[1]) - radius
    image = 300 + 600 * (distance < 0) - 200 * ((distance >= 0) & (distance < 4))
    image = image + rng.normal(0, 20, (side, side))
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    contour = centre + (radius + 0.7) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return image.astype(np.int16), np.round(2 * contour) / 2


def write_dicom(path, image, position=0.0, compressed=False, spacing=SPACING):
    """Writes one frame, [H, W] or [H, W, 3], `position` mm along the slices' normal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = sitk.GetImageFromArray(image[None], isVector=image.ndim == 3)
    frame.SetSpacing((spacing[1], spacing[0], 8.0))
    frame.SetOrigin((0.0, 0.0, position))
    frame.SetMetaData("0008|0060", "MR")
    frame.SetMetaData("0008|0016", "1.2.840.10008.5.1.4.1.1.4")
    frame.SetMetaData("0020|0032", f"0\\0\\{position}")
    frame.SetMetaData("0020|0037", "1\\0\\0\\0\\1\\0")
    sitk.WriteImage(frame, str(path), compressed)


def write_contour(path, points):
    """Writes a contour file as the release does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{x:.2f} {y:.2f}\n" for x, y in points), encoding="utf-8")


SUBJECTS = ("SC-HF-I-01", "SC-HF-NI-07", "SC-N-09")


def sunnybrook(folder, subjects=SUBJECTS, frames=3, layout="today", side=SIDE, seed=0):
    """Writes a raw release: per subject `frames` contoured frames (8, 28, ...) and one without contour.

    Returns:
      Images [n, H, W] and contours by name (SC-HF-I-01-IM-0001-0008), and the litter's number of files.
    """
    rng = np.random.default_rng(seed)
    written = {}
    for index, subject in enumerate(subjects):
        kind, number = subject.rsplit("-", 1)
        if layout == "today":
            patient = folder / f"SCD_IMAGES_0{1 + index % 5}" / f"SCD{index + 1:05d}01"
            images = patient / ("CINESAX_300", "CINESAX_5")[index % 2]
            contours = folder / "SCD_ManualContours" / subject
        else:
            group = ("challenge_training", "challenge_validation")[index % 2]
            images = folder / group / f"{kind}-{int(number)}"
            part = ("ContoursPart3/TrainingDataContours", "ContoursPart2/ValidationDataContours")[index % 2]
            contours = folder / f"Sunnybrook Cardiac MR Database {part}" / subject
        contours = contours / "contours-manual" / "IRCCI-expert"
        for k in range(frames + 1):
            image, contour = scene(rng, side)
            frame = 8 + 20 * k
            write_dicom(images / f"IM-000{3 + index}-{frame:04d}.dcm", image, position=10.0 * (k // 2))
            if k < frames:
                write_contour(contours / f"IM-0001-{frame:04d}-icontour-manual.txt", contour)
                written[f"{subject}-IM-0001-{frame:04d}"] = image, contour
        write_contour(contours / "IM-0001-0008-ocontour-manual.txt", contour)
        write_contour(contours / "IM-0001-0008-p1contour-manual.txt", contour)
    if layout == "today":
        rows = ["PatientID,OriginalID,Gender,Age,Pathology"]
        for index, subject in enumerate(subjects):
            kind, number = subject.rsplit("-", 1)
            rows.append(f"SCD{index + 1:05d}01,{kind}-{int(number)},,,")
        (folder / "scd_patientdata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for name in LITTER:
        (contours / name).write_bytes(b"litter")
    return written


def acdc(folder, patients=6, slices=4, shape=(40, 52), seed=0, first=1):
    """Writes an ACDC release, or more patients from `first` on; two frames each, whose first slice holds no structure.

    Returns:
      Image and label volumes, [D, H, W], by (patient, frame).
    """
    rng = np.random.default_rng(seed)
    written = {}
    for number in range(first, first + patients):
        patient = f"patient{number:03d}"
        here = folder / "training" / patient
        here.mkdir(parents=True)
        disease = ("NOR", "DCM", "RV")[number % 3]
        (here / "Info.cfg").write_text(f"ED: 1\nES: 9\nGroup: {disease}\nNbFrame: 30\n", encoding="utf-8")
        for frame in (1, 9):
            volume = rng.integers(5, 400, (slices, *shape)).astype(np.int16)
            label = np.zeros_like(volume, np.uint8)
            label[1:, 12:28, 14:20] = 1
            label[1:, 12:28, 22:38] = 2
            label[1:, 16:24, 26:34] = 3
            volume[(label == 1) | (label == 3)] += 500
            written[patient, frame] = volume, label
            for values, ending in ((volume, ""), (label, "_gt")):
                image = sitk.GetImageFromArray(values)
                image.SetSpacing((SPACING[1], SPACING[0], 10.0))
                sitk.WriteImage(image, str(here / f"{patient}_frame{frame:02d}{ending}.nii.gz"))
        (here / f"{patient}_4d.nii.gz").write_bytes(b"not read")
    return written


def spine(folder, subjects=5, depths=(20, 18), side=32, seed=0, ending=".nrrd"):
    """Writes CT volumes and labels, a vertebra of another number every six slices, all in one folder.

    Returns:
      Volumes and labels, [D, H, W], by subject.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    written = {}
    for number in range(1, subjects + 1):
        depth = depths[number % len(depths)]
        volume = rng.integers(-1000, 200, (depth, side, side)).astype(np.int16)
        label = np.zeros(volume.shape, np.uint16)
        for k in range(0, depth, 6):
            label[k:k + 4, 8:20, 10:22] = 100 + k
        volume[label > 0] += 800
        written[f"case{number}"] = volume, label
        for values, name in ((volume, ""), (label, "_label")):
            image = sitk.GetImageFromArray(values)
            image.SetSpacing((0.4, 0.35, 1.5))
            sitk.WriteImage(image, str(folder / f"case{number}{name}{ending}"), ending == ".nrrd")
    (folder / "readme.txt").write_text("not read", encoding="utf-8")
    return written


def pictures(folder, names, images, masks, plural=False, factor=255):
    """Writes PNGs of images and masks (times `factor`) into subfolders image and mask, or their plurals."""
    for kind, values in (("image", images), ("mask", np.asarray(masks) * factor)):
        here = folder / (kind + "s" * plural)
        here.mkdir(parents=True, exist_ok=True)
        for name, value in zip(names, values, strict=True):
            Image.fromarray(np.asarray(value, np.uint8)).save(here / f"{name}.png")
