"""The anatomy of the cardiac phantoms: torso, organs and heart as smooth shapes in millimetres, and their painting.

A subject's `Anatomy` is drawn once; `paint` lays one slice of it on the pixel grid. Points are complex numbers x + iy,
in mm from the centre of the field of view, x to the right and y downward. A level z runs from 0 at the heart's base to
1 at its apex.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

HEART_LENGTH = 85.0  # mm, base to apex
SLICE_THICKNESS = 8.0  # mm

# Shapes: signed distances in mm, negative inside


def ellipse(point, centre, axes, angle=0.0, ripple=()):
    """Signed distance, to first order, to an ellipse whose radius ripples round it.

    Args:
      point: where, complex mm.
      centre: complex mm.
      axes: the two half axes, mm, the first one along `angle` (radians).
      ripple: relative amplitudes, complex for their phase, of 2, 3, ... waves a turn.
    """
    turned = (point - centre) * np.complex64(np.exp(-1j * angle))
    u, v = turned.real / np.float32(axes[0]), turned.imag / np.float32(axes[1])
    radius = np.sqrt(u * u + v * v) + np.float32(1e-6)
    edge = np.float32(1)
    if len(ripple):
        direction = (u + 1j * v) / radius
        wave = direction
        for amplitude in ripple:
            wave = wave * direction
            edge = edge + (wave * np.complex64(amplitude)).real
    slope = np.hypot(u / np.float32(axes[0]), v / np.float32(axes[1])) / radius + np.float32(1e-6)
    return (radius - edge) / slope


def crescent(outer, inner):
    """The signed distance to the part of the shape `outer` that is not in `inner`."""
    return np.maximum(outer, -inner)


def cover(distance, width):
    """The share of a pixel that a shape covers; its edge is `width` mm soft."""
    return np.clip(0.5 - distance / np.float32(width), 0, 1)


def draw_ripple(rng, amplitude, waves=3):
    """Ripples of the given size, mm/mm, that fall off with the number of waves."""
    parts = rng.normal(size=waves) + 1j * rng.normal(size=waves)
    return tuple(amplitude * parts / np.arange(1, waves + 1))


def smooth_field(rng, axis, scale):
    """A smooth random field, mean 0 and deviation about 1, [len(axis), len(axis)], `scale` mm across.

    White noise on a lattice under a Gaussian kernel: the field is the same however finely it is sampled.
    """
    nodes = np.arange(-330, 330 + scale, scale, dtype=np.float32)
    kernel = np.exp(-0.5 * ((axis[:, None] - nodes) / np.float32(scale)) ** 2)
    kernel = sparse.csr_array(np.where(kernel > 1e-4, kernel, 0))
    noise = rng.standard_normal((len(nodes), len(nodes)), dtype=np.float32)
    return (kernel @ (kernel @ noise).T).T / np.float32(1.77)


# Anatomy


@dataclass(frozen=True)
class Organ:
    """A rippled ellipse; from base to apex it moves by `drift` mm and grows `growth` times."""

    centre: complex
    axes: tuple
    angle: float
    ripple: tuple
    signal: float
    drift: complex = 0
    growth: float = 1.0

    def distance(self, point, z):
        """Signed distance, mm, at level z; merely large far away."""
        scale = self.growth**z
        axes = (self.axes[0] * scale, self.axes[1] * scale)
        centre = np.complex64(self.centre + z * self.drift)
        near = np.abs(point - centre) < 1.5 * max(axes) + 8
        distance = np.full(point.shape, 1e3, np.float32)
        distance[near] = ellipse(point[near], centre, axes, self.angle, self.ripple)
        return distance


@dataclass(frozen=True)
class Heart:
    """Both ventricles. Lengths in mm, angles in radians; `septum` is the direction from LV to RV."""

    centre: complex
    drift: complex
    radius: float  # LV endocardium at the base
    wall: float
    flatness: float  # of the LV, along the septum's direction
    septum: float
    ripple: tuple
    rv_width: float
    rv_height: float  # relative to the LV epicardium's radius
    rv_ripple: tuple
    papillary: tuple  # Organs on an LV of radius 1, the septum at angle 0
    roughness: float  # of the trabeculated LV wall, relative to its radius
    fat: float  # about the heart

    @staticmethod
    def draw(rng):
        """A normal, dilated or hypertrophic heart in diastole or systole."""
        kind = rng.choice(3, p=[0.4, 0.3, 0.3])
        radius = rng.normal((31.0, 39.0, 27.0)[kind], (2.5, 4.0, 2.5)[kind])
        wall = rng.normal((9.5, 9.0, 16.0)[kind], 1.0)
        muscle = (radius + wall) ** 2 - radius**2
        systole = rng.random() < 0.45
        shortening = rng.normal((0.34, 0.14, 0.40)[kind], 0.04) if systole else rng.uniform(0, 0.05)
        rv_width = rng.uniform(20, 36) * (1 - 0.8 * shortening)
        radius *= 1 - shortening
        wall = np.sqrt(radius**2 + muscle) - radius  # contraction keeps the muscle's area
        lateral = rng.normal(2.1, 0.3), -rng.normal(2.0, 0.3)
        return Heart(
            centre=complex(rng.normal(0, 5), rng.normal(-8, 5)),
            drift=complex(rng.normal(4, 6), rng.normal(-3, 5)), radius=radius, wall=wall,
            flatness=rng.uniform(0.86, 1.0), septum=np.pi + rng.normal(0.35, 0.2),
            ripple=draw_ripple(rng, 0.015), rv_width=rv_width, rv_height=rng.uniform(0.92, 1.2),
            rv_ripple=draw_ripple(rng, 0.03),
            papillary=tuple(_draw_papillary(rng, angle, shortening) for angle in lateral),
            roughness=rng.uniform(0.03, 0.1), fat=rng.uniform(2, 9))

    def narrowing(self, z):
        """The cavity's radius at level z relative to the base: nearly a half ellipsoid."""
        return np.sqrt(1 - (0.97 * min(max(z, 0.0), 1.0)) ** 2.6)

    def cavities(self, point, z):
        """Signed distances, mm: the LV's endocardium and epicardium, the RV's cavity and outer wall."""
        middle, small = self.centre + z * self.drift, self.narrowing(z)
        endo = self.radius * small
        epi = endo + self.wall * (1 - 0.35 * z)
        lv = ellipse(point, middle, (endo * self.flatness, endo / self.flatness), self.septum, self.ripple)
        outer = ellipse(point, middle, (epi * self.flatness, epi / self.flatness), self.septum, self.ripple)
        reach = 0.5 * epi + (self.rv_width + 2) * small
        height = epi * self.rv_height * (1 - 0.25 * z)
        toward = np.exp(1j * self.septum)
        rv = ellipse(point, middle + 0.5 * epi * toward, (reach, height), self.septum, self.rv_ripple)
        beyond = ((point - np.complex64(middle)) * np.complex64(toward.conjugate())).real
        rv = np.maximum(rv, np.float32(-0.2 * epi) - beyond)  # none on the LV's free wall
        return {"LV": lv, "epicardium": outer, "RV": crescent(rv, outer), "RV wall": rv - np.float32(3.5)}

    def enclosed(self, body, layers):
        """The torso `body`, moved so that the chest wall, `layers` mm thick, clears the heart."""
        epicardium, turn = self.radius + self.wall, np.linspace(-1, 1.5, 26)
        reach = np.maximum(epicardium, (epicardium + self.rv_width + 4) * np.cos(turn) ** 2)
        outline = self.centre + reach * np.exp(1j * (self.septum + turn))
        excess = max(0.0, float((body.distance(outline.astype(np.complex64), 0) + layers + 6).max()))
        towards = self.centre - body.centre
        return replace(body, centre=body.centre + excess * towards / abs(towards))

    def blood_edge(self, z):
        """How far the LV's edge moves through the slice's thickness, mm: it is that blurred."""
        half = 0.5 * SLICE_THICKNESS / HEART_LENGTH
        return self.radius * abs(self.narrowing(z + half) - self.narrowing(z - half))

    def muscles(self, point, z):
        """Signed distance, mm, to the papillary muscles, which leave the wall toward the apex."""
        middle, endo = self.centre + z * self.drift, self.radius * self.narrowing(z)
        relative = (point - np.complex64(middle)) * np.complex64(np.exp(-1j * self.septum) / endo)
        nearest = np.minimum(*(muscle.distance(relative, z) for muscle in self.papillary))
        return endo * (nearest + np.float32(0.25 * abs(2 * z - 1) ** 3))  # thin at either end of their course


def _draw_papillary(rng, angle, shortening):
    """A papillary muscle off the LV wall at `angle`, thicker in systole, on the wall toward the apex."""
    size, outward = rng.uniform(0.1, 0.24) + 0.2 * shortening, np.exp(1j * angle)
    return Organ(outward * rng.uniform(0.62, 0.8), (size * rng.uniform(1.2, 2.0), size), angle,
                 draw_ripple(rng, 0.1), signal=0.0, drift=0.2 * outward)


_SIGNAL = {"blood": (0.85, 1.1), "myocardium": (0.27, 0.5), "fat": (0.7, 1.3), "muscle": (0.22, 0.35),
           "lung": (0.03, 0.09), "liver": (0.3, 0.6), "bone": (0.35, 0.6)}


@dataclass(frozen=True)
class Anatomy:
    """One subject: the torso about the heart, in mm, and the signal of each tissue relative to blood."""

    levels: tuple  # of the slices, base to apex
    turn: float
    shift: complex
    body: Organ
    fat_layer: float
    muscle_layer: float
    ribs: tuple  # number a turn, phase
    mediastinum: Organ
    abdomen: Organ
    organs: tuple  # inside the abdomen, painted in this order
    spine: tuple  # vertebra, canal and the descending aorta before it
    outflow: Organ  # the great vessel beside the heart's base
    heart: Heart
    signal: dict
    coils: tuple  # (place, gain, reach)
    aperture: str

    @staticmethod
    def draw(rng):
        """Draws everything that makes the subject."""
        signal = {tissue: rng.uniform(*between) for tissue, between in _SIGNAL.items()}
        first, last, slices = rng.uniform(0.02, 0.1), rng.uniform(0.9, 1.0), rng.integers(6, 11)
        heart = Heart.draw(rng)
        wide, fat_layer, muscle_layer = rng.normal(1.0, 0.06), rng.uniform(7, 26), rng.uniform(10, 18)
        body = Organ(complex(rng.normal(28, 8), rng.normal(82, 6)), (225 * wide, 182 * wide),
                     rng.normal(-0.75, 0.12), draw_ripple(rng, 0.025), signal["fat"])
        dome = rng.normal(-35, 7)
        body = heart.enclosed(body, fat_layer + muscle_layer)
        abdomen = Organ(complex(rng.normal(-25, 15), 185 + dome), (175, 128), rng.normal(0.12, 0.1),
                        draw_ripple(rng, 0.02), 0.75 * signal["fat"], complex(15, -rng.uniform(10, 35)))
        mediastinum = Organ(complex(-50, -35), (rng.uniform(60, 90), rng.uniform(28, 46)),
                            rng.normal(-0.75, 0.15), draw_ripple(rng, 0.06), 0.7 * signal["fat"],
                            drift=25 + 5j, growth=1.1)
        return Anatomy(
            levels=tuple(np.linspace(first, last, slices)), turn=rng.normal(0, 0.22),
            shift=complex(rng.normal(0, 12), rng.normal(6, 11)), body=body, fat_layer=fat_layer,
            muscle_layer=muscle_layer, ribs=(rng.integers(14, 22), rng.uniform(0, 6.28)),
            mediastinum=mediastinum, abdomen=abdomen, organs=_draw_organs(rng, signal, dome),
            spine=_draw_spine(rng, signal), outflow=_draw_outflow(rng, signal, heart), heart=heart,
            signal=signal,
            coils=((-75 - 75j, rng.uniform(1.0, 2.5), 60), (150 + 60j, rng.uniform(0.3, 1.8), 70),
                   (190j, rng.uniform(0.2, 0.8), 90)),
            aperture=str(rng.choice(["circle", "sides", "square"], p=[0.4, 0.45, 0.15])))


def _draw_organs(rng, signal, dome):
    """The abdomen's content: bowel, kidney, spleen, stomach and liver."""
    def organ(x, y, a, b, level, angle, drift, ripple=0.05):
        place = complex(rng.normal(x, 7), rng.normal(y + dome, 6))
        axes = a * rng.uniform(0.85, 1.2), b * rng.uniform(0.85, 1.2)
        return Organ(place, axes, angle + rng.normal(0, 0.2), draw_ripple(rng, ripple), level, drift)

    bowel = [organ(rng.uniform(-120, 120), rng.uniform(95, 215), rng.uniform(10, 26), rng.uniform(8, 14),
                   rng.uniform(0.1, 0.8), rng.uniform(0, np.pi), complex(*rng.normal(0, 15, 2)), 0.1)
             for _ in range(14)]
    meal = rng.choice([0.15, 0.45, 1.0]) * rng.uniform(0.85, 1.1)  # air, food or a bright drink
    kidney = organ(85, 125, 27, 16, 0.5, -0.6, 0j)
    spleen = organ(112, 92, 42, 17, 1.1 * signal["liver"], 0.9, -10j)
    stomach = organ(62, 82, 34, 22, meal, 0.5, 10 - 18j)
    return (*bowel, kidney, spleen, stomach, organ(-88, 92, 92, 44, signal["liver"], -0.15, 12 - 6j))


def _draw_spine(rng, signal):
    """Vertebra, its canal and the descending aorta before it."""
    vertebra = complex(rng.normal(-5, 12), rng.normal(128, 6))
    aorta, radius = vertebra + complex(rng.normal(30, 4), rng.normal(-24, 4)), rng.uniform(9, 14)
    return (Organ(vertebra, (22, 17), rng.normal(0, 0.3), draw_ripple(rng, 0.05), signal["bone"]),
            Organ(vertebra + 26j, (9, 7), 0.0, (), 1.1 * signal["blood"]),
            Organ(aorta, (radius, radius), 0.0, draw_ripple(rng, 0.03), signal["blood"],
                  complex(*rng.normal(0, 6, 2))))


def _draw_outflow(rng, signal, heart):
    """The great vessel beside the heart's base, gone toward the apex."""
    direction = np.exp(1j * (heart.septum + rng.normal(1.15, 0.15)))
    size = rng.uniform(11, 17)
    return Organ(heart.centre + (heart.radius + heart.wall + 6) * direction, (size, 0.85 * size),
                 rng.normal(0, 0.5), draw_ripple(rng, 0.04), signal["blood"], 8j, 0.1)


# Painting


class Canvas:
    """The signal on the pixel grid; later paint covers earlier."""

    def __init__(self, axis):
        """An empty one; `axis` as in `paint`."""
        self.pixel = float(axis[1] - axis[0])
        self.signal = np.zeros((len(axis), len(axis)), np.float32)

    def paint(self, distance, signal, softness=0.0, rim=0.0):
        """Fills a shape with `signal`, a number or an array; its edge is a pixel and `softness` mm wide.

        `rim` darkens the border, as where fat and water share pixels out of phase.
        """
        share = cover(distance, self.pixel + softness)
        self.signal += share * (np.float32(signal) - self.signal)
        if rim:
            width = np.float32(1.2 + 0.25 * self.pixel)
            self.signal *= 1 - np.float32(rim) * np.exp(-((distance / width) ** 2))


def paint(anatomy, axis, z, rng):
    """One slice of the anatomy before imaging.

    Args:
      axis: the pixel centres along either side of the field of view, mm.
      z: the slice's level.
      rng: of the soft tissue's texture.

    Returns:
      The signal relative to blood, [n, n], and the signed distances (mm) of the cavities by name.
    """
    canvas = Canvas(axis)
    point = scene(anatomy, axis)
    bent = point + np.float32(3) * (smooth_field(rng, axis, 16.0) + 1j * smooth_field(rng, axis, 16.0))
    texture, bulge = smooth_field(rng, axis, 2.5), smooth_field(rng, axis, 40.0)
    inside = _paint_torso(canvas, anatomy, point, z, texture, bulge)
    _paint_abdomen(canvas, anatomy, bent, z, inside, smooth_field(rng, axis, 3.0))
    for organ in anatomy.spine:
        canvas.paint(np.maximum(organ.distance(bent, z), inside), organ.signal, rim=0.6)
    cavities = _paint_heart(canvas, anatomy, point, z, smooth_field(rng, axis, 7.0), inside)
    canvas.signal *= 1 + np.float32(0.06) * smooth_field(rng, axis, 3.5)
    canvas.signal *= 1 + np.float32(0.06) * smooth_field(rng, axis, 14.0)
    return np.maximum(canvas.signal, 0), cavities


def scene(anatomy, axis):
    """The pixels' places in the subject's own coordinates, complex mm [n, n]."""
    grid = (axis + 1j * axis[:, None]).astype(np.complex64)
    return (grid - np.complex64(anatomy.shift)) * np.complex64(np.exp(-1j * anatomy.turn))


def _paint_torso(canvas, anatomy, point, z, texture, bulge):
    """Fat, chest wall with ribs, lung with vessels, mediastinal fat. Returns the thorax's signed distance."""
    signal, body, layer = anatomy.signal, anatomy.body, anatomy.muscle_layer
    skin = body.distance(point, z) + np.float32(2.5) * bulge
    muscle = skin + np.float32(anatomy.fat_layer) * (1 + 0.25 * z + 0.3 * np.clip(bulge, -1.5, 1.5))
    inside = skin + np.float32(anatomy.fat_layer * (1 + 0.25 * z) + layer)
    number, phase = anatomy.ribs
    turn = np.angle(point - np.complex64(body.centre)) * number + np.float32(phase + 6 * z)
    rib = np.maximum(np.abs(inside - np.float32(0.4 * layer)) - np.float32(0.25 * layer),
                     8 * (np.float32(0.1) - np.cos(turn) + 0.4 * bulge))
    canvas.paint(skin, signal["fat"])
    canvas.paint(muscle, signal["muscle"] * (1 + 0.25 * texture), rim=0.4)
    canvas.paint(np.maximum(rib, muscle + 2), signal["bone"], rim=0.5)
    canvas.paint(inside, signal["lung"] + 0.35 * np.clip(texture - 1.9, 0, 1), rim=0.5)
    canvas.paint(np.maximum(anatomy.mediastinum.distance(point, z), inside + 1),
                 anatomy.mediastinum.signal * (1 - 0.15 * np.clip(texture, 0, 2)))
    return inside


def _paint_abdomen(canvas, anatomy, point, z, inside, texture):
    """What lies below the diaphragm."""
    abdomen = np.maximum(anatomy.abdomen.distance(point, z), inside + 2)
    canvas.paint(abdomen, anatomy.abdomen.signal * (1 - 0.2 * np.clip(texture - 1, 0, 1.5)), rim=0.7)
    *others, liver = anatomy.organs
    for organ in others:
        within = np.maximum(organ.distance(point, z), abdomen + 2)
        canvas.paint(within, organ.signal * (1 + 0.08 * texture), rim=0.7)
    vessels = 0.4 * np.clip(texture - 1.6, 0, 1)
    canvas.paint(np.maximum(liver.distance(point, z), abdomen + 1.5), liver.signal + vessels, rim=0.7)


def _paint_heart(canvas, anatomy, point, z, flow, inside):
    """Pericardial fat, walls, blood and papillary muscles; returns the cavities' signed distances."""
    heart, signal = anatomy.heart, anatomy.signal
    shape = heart.cavities(point, z)
    whole = np.minimum(shape["epicardium"], shape["RV wall"])
    fat = np.maximum(whole - heart.fat * (0.6 + 0.8 * z), inside + 1)
    vessel = np.maximum(anatomy.outflow.distance(point, z), inside + 3)
    canvas.paint(fat, 0.8 * signal["fat"], softness=2.0, rim=0.3)
    canvas.paint(vessel - 2, signal["myocardium"])
    canvas.paint(vessel, signal["blood"] * (1 + 0.1 * flow))
    canvas.paint(whole, signal["myocardium"], rim=0.6)
    blood = signal["blood"] * (1 + 0.07 * flow)
    bundles = 0.18 * np.clip(flow - 0.8, 0, 1) * cover(-shape["RV"] - 8, 8)
    canvas.paint(shape["RV"], blood - bundles * signal["blood"], softness=1.0 + 2 * z)
    part = 1 - 0.45 * z**4  # of the slice's thickness that holds blood, the apex curving into it
    rough = heart.radius * heart.narrowing(z) * heart.roughness * np.clip(flow, 0, 2)
    canvas.paint(shape["LV"] + rough, part * blood + (1 - part) * signal["myocardium"], heart.blood_edge(z))
    canvas.paint(np.maximum(heart.muscles(point, z), shape["LV"]), 1.1 * signal["myocardium"], softness=1.0)
    return shape
