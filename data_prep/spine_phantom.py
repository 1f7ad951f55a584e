"""Thoracic spine CT phantoms: volumes that look like the CSI 2014 scans, free of any licence.

A subject's `Anatomy` is drawn once, in millimetres; `paint` lays one transversal slice of it on the pixel grid in
Hounsfield units; a scanner's blur and noise follow. Points of a slice are complex numbers x + iy, x to the right and y
to the back of the body, from the middle of the field of view; z runs down the body. The label is the vertebrae: bodies
and arches with their processes, not the ribs.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from data_prep.anatomy import Canvas, Organ, draw_ripple, ellipse, smooth_field
from data_prep.folds import random_split
from ilnrepro.errors import InputError
from ilnrepro.storage.dataset import DataSet

FIELD_OF_VIEW = 170.0  # mm, about the spine, as the CSI 2014 scans have it
LENGTH = 160.0  # mm, six vertebrae
FOLDS = 5
_LEAVES = 0.6  # radians from the back at which a rib leaves the chest's wall for its vertebra
_ANATOMY, _TEXTURE, _NOISE = range(3)  # independent random streams


def spine_phantom(size=256, slices=160, subjects=10, seed=0, crop=1.0):
    """A data set of spine CT volumes float32 [subjects, slices, size, size], in five folds of subjects.

    Args:
      size: pixels a side, a multiple of 16. The anatomy does not depend on it.
      slices: transversal slices over 160 mm.
      subjects: their number. Subject k does not depend on it.
      seed: of all random numbers.
      crop: the share of the field of view of 170 mm that is kept, about its centre.

    Returns:
      A DataSet of whole Hounsfield units; `optional` holds "spacing" (mm).

    Raises:
      InputError: a parameter has a value that cannot be used.
    """
    for field, value, minimum in (("size", size, 32), ("slices", slices, 16), ("subjects", subjects, 2),
                                  ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
            raise InputError(f"spine-phantom: {field}: {value!r} cannot be used; give a whole number from {minimum}")
    if size % 16:
        raise InputError(f"spine-phantom: size: {size} is not a multiple of 16, which four max-pools need; "
                         f"take {size // 16 * 16} or {size // 16 * 16 + 16}")
    if not 0.4 <= crop <= 1:
        raise InputError(f"spine-phantom: crop: {crop!r} cannot be used; give a share from 0.4, which holds a "
                         "vertebra, to 1")
    volumes = [_volume(size, slices, crop, seed, k) for k in range(subjects)]
    names = np.array([f"spine-phantom-{k + 1:02d}" for k in range(subjects)])
    spacing = (LENGTH / slices, crop * FIELD_OF_VIEW / size, crop * FIELD_OF_VIEW / size)
    return DataSet(
        images=np.stack([image for image, _ in volumes]), masks=np.stack([mask for _, mask in volumes]), subject=names,
        name=names, fold=random_split(names, FOLDS, seed), title="Thoracic spine CT phantom", structure="spine",
        source=(f"ilnrepro data_prep spine-phantom, seed {seed}, {subjects} subjects, {slices} slices of "
                f"{size}x{size} pixels, {crop:.0%} of the field of view"),
        licence="CC0-1.0", citation="", synthetic=True, optional={"spacing": np.tile(spacing, (subjects, 1))})


def _generator(*key):
    return np.random.default_rng(np.random.SeedSequence([int(k) for k in key]))


def _volume(size, slices, crop, seed, subject):
    """The image, float32 in Hounsfield units, and mask, uint8, both [slices, size, size], of one subject."""
    axis = (np.arange(size, dtype=np.float32) + 0.5 - size / 2) * np.float32(crop * FIELD_OF_VIEW / size)
    levels = (np.arange(slices) + 0.5) * LENGTH / slices
    anatomy = Anatomy.draw(_generator(seed, _ANATOMY, subject))
    painted = [anatomy.paint(axis, z, *_textures(axis, z, seed, subject)) for z in levels]
    image = np.stack([signal for signal, _ in painted])
    pixel, step = float(axis[1] - axis[0]), LENGTH / slices
    image = ndimage.gaussian_filter(image, (anatomy.blur / step, anatomy.blur / pixel, anatomy.blur / pixel))
    noise = _generator(seed, _NOISE, subject).standard_normal(image.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, (0, 0.6, 0.6))  # reconstruction correlates the noise of neighbours
    image += np.float32(anatomy.noise / noise.std()) * noise
    return np.round(np.maximum(image, -1024)), np.stack([mask for _, mask in painted])


def _textures(axis, z, seed, subject):
    """A fine and a coarse random field over the slice at level z, mean 0 and deviation about 1, smooth in z too."""
    fields = []
    for stream, scale in enumerate((2.5, 14.0)):
        node, share = int(z // scale), z % scale / scale
        ends = [smooth_field(_generator(seed, _TEXTURE, subject, stream, node + k), axis, scale) for k in (0, 1)]
        fields.append(((1 - share) * ends[0] + share * ends[1]) / np.float32(np.hypot(1 - share, share)))
    return fields


@dataclass(frozen=True)
class Vertebra:
    """One vertebra; lengths in mm, the middle of its body at level z and place `centre`."""

    z: float
    height: float  # of the body
    centre: complex
    axes: tuple  # half axes of the body
    turn: float
    canal: float  # half width of the canal
    lamina: float  # thickness of the arch
    process: tuple  # lengths of the transverse and spinous processes
    slope: float  # how far the spinous process falls over its length, mm/mm
    ripple: tuple

    @property
    def canal_centre(self):
        """Middle of the canal, behind the body."""
        return self.centre + 1j * (self.axes[1] + 0.75 * self.canal)

    def body(self, point, z):
        """Signed distance, mm, to the body: a waisted cylinder, hollowed at the back by the canal."""
        along = (z - self.z) / (0.5 * self.height)
        waist = 1 - 0.1 * max(0.0, 1 - along**2)
        rim = ellipse(point, self.centre, (self.axes[0] * waist, self.axes[1] * waist), self.turn, self.ripple)
        end = np.float32((abs(along) - 1) * 0.5 * self.height)
        return np.maximum(np.maximum(rim, end), -self.hollow(point))

    def hollow(self, point):
        """Signed distance, mm, to the canal."""
        return ellipse(point, self.canal_centre, (self.canal, 0.85 * self.canal), self.turn)

    def arch(self, point, z):
        """Signed distance, mm, to the arch: pedicles and laminae about the canal, and the three processes."""
        hollow = self.hollow(point)
        # The arch hangs on the upper half of the body.
        middle, half = self.z - 0.12 * self.height, 0.36 * self.height
        ring = np.maximum(np.abs(hollow - 0.5 * self.lamina) - 0.5 * self.lamina, np.float32(abs(z - middle) - half))
        arch = np.maximum(ring, self.centre.imag - point.imag)  # in front lies the body
        transverse, spinous = self.process
        back = self.canal_centre + 1j * (0.85 * self.canal + 0.5 * self.lamina)
        for side in (-1, 1):
            root = self.canal_centre + side * (self.canal + 0.5 * self.lamina)
            tip = root + transverse * np.exp(1j * (0.6 if side > 0 else np.pi - 0.6))
            arch = np.minimum(arch, _bar(point, z, root, tip, middle, middle, 0.22 * self.height))
        return np.minimum(arch, _bar(point, z, back, back + 1j * spinous, middle, middle + self.slope * spinous, 3.2))


def _bar(point, z, start, end, start_z, end_z, radius):
    """Signed distance, mm, to a straight round bar between two points in space, in the slice at level z."""
    along, fall = end - start, end_z - start_z
    length = abs(along) ** 2 + fall**2
    x, dz = point - np.complex64(start), np.float32(z - start_z)
    share = np.clip(((x * np.complex64(along.conjugate())).real + dz * fall) / np.float32(length), 0, 1)
    return np.hypot(np.abs(x - share * np.complex64(along)), dz - share * np.float32(fall)) - np.float32(radius)


@dataclass(frozen=True)
class Anatomy:
    """One subject: vertebrae and what lies around them; lengths in mm, signals in Hounsfield units."""

    vertebrae: tuple
    back: float  # y of the skin behind the spine
    fat: float
    lungs: tuple  # Organs
    aorta: Organ
    chest: tuple  # centre and half axes of the rib cage
    rib_turn: float  # how fast the ribs fall round the chest, mm/radian
    bone: tuple  # Hounsfield units of the spongy and the cortical bone
    blur: float
    noise: float

    @staticmethod
    def draw(rng):
        """Draws everything that makes the subject."""
        scale, bend, lean = rng.normal(1.0, 0.06), rng.normal(0, 5), rng.uniform(6, 16)
        pitch, first = 25.0 * scale, rng.uniform(-20, 5)
        vertebrae = []
        for k in range(9):
            z = first + k * pitch * (1 + 0.012 * k)  # lower ones are taller
            course = z / LENGTH - 0.5
            grown = scale * (1 + 0.02 * k)
            centre = complex(bend * np.sin(2.5 * course) + rng.normal(0, 0.5), -8 - lean * (course**2 - 0.1))
            vertebrae.append(Vertebra(
                z=z, height=0.78 * pitch * (1 + 0.012 * k), centre=centre,
                axes=(15.5 * grown, 12.5 * grown), turn=rng.normal(0, 0.04), canal=rng.uniform(8.5, 10) * scale,
                lamina=rng.uniform(4.5, 6), process=(rng.uniform(20, 27) * scale, rng.uniform(26, 36) * scale),
                slope=rng.uniform(0.35, 0.8), ripple=draw_ripple(rng, 0.02)))
        blood = rng.choice([45.0, rng.uniform(150, 320)])  # without and with a contrast agent
        aorta = Organ(complex(rng.uniform(19, 25), rng.uniform(-34, -27)), (rng.uniform(10, 13),) * 2, 0.0,
                      draw_ripple(rng, 0.03), blood, complex(*rng.normal(0, 4, 2)))
        air = rng.uniform(-880, -780)
        lungs = tuple(Organ(complex(side * rng.uniform(58, 66), rng.uniform(-30, -20)),
                            (rng.uniform(40, 46), rng.uniform(50, 58)), side * 0.25, draw_ripple(rng, 0.04), air)
                      for side in (-1, 1))
        back = 62 * scale + rng.uniform(0, 8)
        return Anatomy(
            vertebrae=tuple(vertebrae), back=back, fat=rng.uniform(4, 16), lungs=lungs, aorta=aorta,
            chest=(complex(0, -38), (104 * scale, 76 * scale)), rib_turn=rng.uniform(12, 22),
            bone=(rng.uniform(150, 280), rng.uniform(480, 800)), blur=rng.uniform(0.5, 0.9), noise=rng.uniform(15, 45))

    def paint(self, axis, z, texture, patches):
        """One slice: the signal, float32 [n, n] in Hounsfield units, and the spine's mask, uint8."""
        point = (axis + 1j * axis[:, None]).astype(np.complex64)
        canvas = Canvas(axis)
        canvas.signal -= 1000  # air
        skin = point.imag - np.float32(self.back) + (point.real / 38) ** 2
        canvas.paint(skin, -105 + 8 * texture)
        muscle = skin + np.float32(self.fat) * (1 + np.float32(0.2) * np.clip(patches, -2, 2))
        canvas.paint(muscle, 52 + 10 * texture + 12 * patches)
        for lung in self.lungs:
            distance = np.maximum(lung.distance(point, z / LENGTH), muscle + 12)
            vessels = 750 * np.clip(texture - 1.7, 0, 1)
            canvas.paint(distance, lung.signal + 40 * patches + vessels)
        canvas.paint(self.aorta.distance(point, z / LENGTH) - 1.5, 45)
        canvas.paint(self.aorta.distance(point, z / LENGTH), self.aorta.signal)
        self._paint_ribs(canvas, point, z, texture)
        return canvas.signal, self._paint_spine(canvas, point, z, texture)

    def _paint_ribs(self, canvas, point, z, texture):
        """A pair a vertebra, round the chest from beside its body, falling toward the front."""
        centre, axes = self.chest
        wall = ellipse(point, centre, axes)
        angle = np.abs(np.angle((point - np.complex64(centre)) * np.complex64(-1j)))  # 0 at the back, π at the front
        for vertebra in self.vertebrae:
            fall = vertebra.z - 0.3 * vertebra.height + self.rib_turn * angle - z
            bar = np.hypot(np.maximum(np.abs(wall) - 1.5, 0), fall) - np.float32(4.5)
            # Near the spine the ribs leave the wall for the sides of the body.
            bar = np.maximum(bar, np.float32(axes[0]) * (np.float32(_LEAVES) - angle))
            self._paint_bone(canvas, np.minimum(bar, self._neck(point, z, vertebra)), texture, 1.5)

    def _neck(self, point, z, vertebra):
        """Signed distance to the two rib necks of a vertebra."""
        centre, axes = self.chest
        necks = []
        for side in (-1, 1):
            head = vertebra.centre + side * (vertebra.axes[0] + 4) + 4j
            turn = np.pi / 2 - side * _LEAVES
            wall = centre + complex(axes[0] * np.cos(turn), axes[1] * np.sin(turn))
            level = vertebra.z - 0.3 * vertebra.height
            necks.append(_bar(point, z, head, wall, level, level + _LEAVES * self.rib_turn, 3.8))
        return np.minimum(*necks)

    def _paint_bone(self, canvas, distance, texture, shell):
        """Cortical bone of `shell` mm about spongy bone."""
        spongy, cortical = self.bone
        canvas.paint(distance, cortical)
        canvas.paint(distance + np.float32(shell), spongy * (1 + np.float32(0.25) * texture))

    def _paint_spine(self, canvas, point, z, texture):
        """Discs, bodies, arches and the canal; returns the vertebrae's mask."""
        near = min(self.vertebrae, key=lambda v: abs(v.z - z))
        disc = ellipse(point, near.centre, near.axes, near.turn, near.ripple)
        canvas.paint(np.maximum(disc, -near.hollow(point)), 85 + 6 * texture)
        bodies = np.minimum.reduce([v.body(point, z) for v in self.vertebrae if abs(v.z - z) < v.height])
        arches = np.minimum.reduce([v.arch(point, z) for v in self.vertebrae if abs(v.z - z) < 3 * v.height])
        spine = np.minimum(bodies, arches)
        self._paint_bone(canvas, spine, texture, 1.6)
        canvas.paint(near.hollow(point) + np.float32(0.5), 25 + 4 * texture)
        return ((spine < 0) & (near.hollow(point) + np.float32(0.5) >= 0)).astype(np.uint8)
