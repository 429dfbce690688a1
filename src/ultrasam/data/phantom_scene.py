"""Tissue for phantoms: layers, lesions, cysts, vessels, bones and organs as maps and masks.

Lengths are in fractions of the field's shorter side; scattering is in dB relative to average tissue
(cyst -40, hypoechoic lesion -12 to -5, muscle 0, fat -6, gland + 3, fascia + 10), as echogenicity is
graded in B-mode phantoms (AIUM/IEC 61391-2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

FloatMap = npt.NDArray[np.float32]
BoolMap = npt.NDArray[np.bool_]
_SUBPIXEL = 4  # bits of fraction in OpenCV's polygon coordinates


@dataclass(slots=True)
class Scene:
    """Maps [H, W] that the acquisition reads, and the masks of what lies in them.

    Attributes:
        echo_db: scattering strength in dB.
        attenuation_db: loss in dB per picture height, in excess of background tissue.
        specular: amplitude of coherent echoes from interfaces.
        inside: pixels in the field of view.
        beam: [2, H, W] unit vectors along the beams.
        instances: names and masks.
    """

    echo_db: FloatMap
    attenuation_db: FloatMap
    specular: FloatMap
    inside: BoolMap
    beam: FloatMap
    instances: list[tuple[str, BoolMap]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        return self.inside.shape[0], self.inside.shape[1]


@dataclass(frozen=True, slots=True)
class Matter:
    """What a structure is made of.

    Attributes:
        echo_db: mean scattering; ``contrast`` says whether it is relative to what it replaces.
        contrast: add ``echo_db`` to the tissue underneath in place of replacing it.
        texture_db, grain: amplitude of slow variations and their size in pixels.
        attenuation_db: excess loss per picture height; negative behind fluid.
        rim: amplitude of the specular echo at the border.
        rim_db, rim_width: scattering of a wall drawn along the border, and its width in pixels.
        softness: blur of the border in pixels.
    """

    echo_db: float
    contrast: bool = False
    texture_db: float = 1.5
    grain: float = 8.0
    attenuation_db: float = 0.0
    rim: float = 0.0
    rim_db: float = 0.0
    rim_width: float = 0.0
    softness: float = 0.8


def draw_scene(
    rng: np.random.Generator, inside: BoolMap, beam: FloatMap, *, fans_out: bool
) -> Scene:
    """Background tissue and one to a dozen structures."""
    zeros = np.zeros(inside.shape, np.float32)
    scene = Scene(zeros.copy(), zeros.copy(), zeros.copy(), inside, beam)
    _draw_layers(rng, scene, fans_out)
    plans: list[tuple[Callable[[np.random.Generator, Scene], None], float]] = [
        (_lesions, 0.34),
        (_vessels, 0.16),
        (_tube, 0.10),
        (_gland, 0.12),
        (_head, 0.08),
        (_chambers, 0.08),
        (_complex_cyst, 0.12),
    ]
    weights = np.array([w for _, w in plans])
    for index in rng.choice(len(plans), size=int(rng.choice((1, 1, 2))), p=weights / weights.sum()):
        plans[index][0](rng, scene)
    if rng.random() < 0.25:
        _bone(rng, scene)
    if rng.random() < 0.3:
        _shadow_of_poor_contact(rng, scene)
    return scene


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], grain_x: float, grain_y: float
) -> FloatMap:
    """Unit-variance Gaussian noise of the given correlation lengths in pixels."""
    height = max(3, int(shape[0] / max(grain_y, 1)) + 3)
    width = max(3, int(shape[1] / max(grain_x, 1)) + 3)
    coarse = rng.standard_normal((height, width), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def blob(
    rng: np.random.Generator,
    centre: tuple[float, float],
    radii: tuple[float, float],
    *,
    roughness: float,
    angle: float = 0.0,
) -> FloatMap:
    """A closed smooth contour [96, 2]: an ellipse whose radius carries random harmonics."""
    theta = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = np.ones_like(theta)
    for order in range(2, 9):
        strength = roughness * rng.normal() / order**1.1
        radius += strength * np.cos(order * theta + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.35, 2.0)
    x, y = radii[0] * radius * np.cos(theta), radii[1] * radius * np.sin(theta)
    cos, sin = np.cos(angle), np.sin(angle)
    points = np.stack([centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos], axis=-1)
    return points.astype(np.float32)


def fill(contour: FloatMap, shape: tuple[int, int]) -> BoolMap:
    """The mask of a closed contour given to a sixteenth of a pixel."""
    mask = np.zeros(shape, np.uint8)
    fixed = np.round((contour - 0.5) * (1 << _SUBPIXEL)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1, shift=_SUBPIXEL)
    return mask.astype(bool)


def paint(rng: np.random.Generator, scene: Scene, mask: BoolMap, matter: Matter) -> None:
    """Replace the tissue under ``mask`` by ``matter``, with its border, wall and echo."""
    hard = mask.astype(np.float32)
    alpha = cv2.GaussianBlur(hard, (0, 0), max(0.4, matter.softness))
    texture = smooth_noise(rng, scene.shape, matter.grain, matter.grain) * matter.texture_db
    target = texture + matter.echo_db + (scene.echo_db if matter.contrast else 0)
    scene.echo_db += alpha * (target - scene.echo_db)
    scene.attenuation_db += alpha * (matter.attenuation_db - scene.attenuation_db)
    scene.specular *= 1 - alpha
    if matter.rim_width:
        edge = np.clip(4 * alpha * (1 - alpha), 0, 1)
        wall = cv2.GaussianBlur(edge, (0, 0), matter.rim_width)
        wall /= max(float(wall.max()), 1e-6)
        scene.echo_db += wall * (matter.rim_db - scene.echo_db)
    if matter.rim:
        # The gradient's component along the beam is the cosine of the angle of incidence.
        soft = cv2.GaussianBlur(hard, (0, 0), 0.9)
        slope_x = cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=0.25)
        slope_y = cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=0.25)
        along = slope_x * scene.beam[0] + slope_y * scene.beam[1]
        patchy = np.clip(0.6 + 0.5 * smooth_noise(rng, scene.shape, 14, 14), 0, 1.5)
        scene.specular += matter.rim * np.abs(along) ** 1.5 * patchy


def place(
    rng: np.random.Generator, scene: Scene, *, low: float, high: float, aspect: float = 1.6
) -> tuple[tuple[float, float], tuple[float, float]]:
    """A random centre in the field, and radii between ``low`` and ``high`` of its shorter side."""
    ys, xs = np.nonzero(scene.inside)
    index = int(rng.integers(len(ys)))
    side = min(np.ptp(ys), np.ptp(xs))
    radius = side * np.exp(rng.uniform(np.log(low), np.log(high)))
    ratio = np.exp(rng.uniform(0, np.log(aspect)) / 2)
    middle = (np.median(xs), np.median(ys))
    pull = min(1.0, 1.6 * radius / side)  # large structures lie near the middle
    x = xs[index] + pull * (middle[0] - xs[index])
    y = ys[index] + pull * (middle[1] - ys[index])
    return (float(x), float(y)), (float(radius * ratio), float(radius / ratio))


def _draw_layers(rng: np.random.Generator, scene: Scene, fans_out: bool) -> None:
    height, width = scene.shape
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    base = rng.normal(0, 2)
    scene.echo_db += base + smooth_noise(rng, scene.shape, 60, 40) * rng.uniform(0.5, 2.5)
    scene.echo_db += smooth_noise(rng, scene.shape, 14, 10) * rng.uniform(0.3, 1.8)
    count = int(rng.integers(0, 3)) if fans_out else int(rng.integers(2, 7))
    tops = np.sort(rng.uniform(0.03, 0.95, count)) * height
    bend, tilt = rng.normal(0, 0.04) * height, rng.normal(0, 0.05) * height
    for top in tops:
        edge = top + bend * x * x + tilt * x + smooth_noise(rng, (1, width), width / 4, 1) * 4
        below = np.clip(y - edge + 0.5, 0, 1)
        fibrous = rng.random() < 0.5
        texture = smooth_noise(
            rng, scene.shape, rng.uniform(25, 70) if fibrous else 12, rng.uniform(2, 6)
        )
        level = base + rng.normal(0, 4.5) + texture * (rng.uniform(1.5, 4) if fibrous else 1)
        scene.echo_db += below * (level - scene.echo_db)
        line = np.exp(-((y - edge) ** 2) / (2 * rng.uniform(0.6, 2.0) ** 2))
        broken = np.clip(0.7 + 0.6 * smooth_noise(rng, (1, width), 30, 1), 0, 1.5)
        scene.specular += line * broken * rng.uniform(0, 1.8)
    if rng.random() < 0.85:
        _draw_strands(rng, scene)
    if rng.random() < 0.6:  # skin and gel
        thick = rng.uniform(2, 10)
        scene.echo_db += 9 * np.exp(-y / thick) * rng.uniform(0.3, 1.2)


def _draw_strands(rng: np.random.Generator, scene: Scene) -> None:
    """Connective tissue: bright curved strands, and lobules of other echogenicity between them.

    The zero lines of smooth noise are long curves that never cross; stretched sideways they look like
    the septa of fat and the fascicles of muscle.
    """
    for _ in range(int(rng.integers(1, 5))):
        long, short = rng.uniform(30, 110), rng.uniform(7, 26)
        noise = smooth_noise(rng, scene.shape, long, short)
        width = rng.uniform(0.03, 0.12)
        strand = np.exp(-((noise / width) ** 2))
        where = np.clip(smooth_noise(rng, scene.shape, 70, 50) + rng.uniform(-0.3, 0.9), 0, 1.3)
        scene.echo_db += strand * where * rng.uniform(4, 17)
        scene.specular += strand * where**2 * rng.uniform(0, 3.5)
        scene.echo_db += np.tanh(noise * 2) * rng.uniform(0, 5)


def _lesion_matter(rng: np.random.Generator) -> Matter:
    kind = rng.choice(("dark", "fluid", "bright", "faint"), p=(0.5, 0.14, 0.12, 0.24))
    soft = float(rng.choice((0.6, 1.5, 3.0)))
    if kind == "fluid":
        return Matter(
            -rng.uniform(18, 40), texture_db=1, attenuation_db=-rng.uniform(4, 22),
            rim=rng.uniform(0.5, 4), rim_db=rng.uniform(0, 6), rim_width=rng.uniform(0, 1.5),
        )  # fmt: skip
    if kind == "bright":
        return Matter(rng.uniform(4, 10), texture_db=2, softness=soft, rim=rng.uniform(0, 1))
    if kind == "faint":
        return Matter(rng.uniform(-7, -2.5), contrast=True, softness=soft, rim=rng.uniform(0, 2))
    return Matter(
        -rng.uniform(4, 13), contrast=bool(rng.random() < 0.3), texture_db=rng.uniform(1, 4.5),
        grain=rng.uniform(5, 18), attenuation_db=rng.normal(2, 9), softness=soft,
        rim=rng.uniform(0, 2), rim_db=rng.uniform(-2, 6),
        rim_width=rng.uniform(0.5, 3) if rng.random() < 0.4 else 0,
    )  # fmt: skip


def _lesions(rng: np.random.Generator, scene: Scene) -> None:
    for _ in range(int(rng.choice((1, 1, 2, 3)))):
        centre, radii = place(rng, scene, low=0.04, high=0.34, aspect=2.4)
        outline = blob(
            rng, centre, radii, roughness=abs(rng.normal(0, 0.12)), angle=rng.normal(0, 0.35)
        )
        mask = fill(outline, scene.shape)
        matter = _lesion_matter(rng)
        paint(rng, scene, mask, matter)
        scene.instances.append(("cyst" if matter.attenuation_db < -3 else "lesion", mask))
        if rng.random() < 0.2:
            _calcifications(rng, scene, mask)


def _vessels(rng: np.random.Generator, scene: Scene) -> None:
    """Vessels and nerves in cross-section, alone or side by side."""
    centre, radii = place(rng, scene, low=0.03, high=0.13, aspect=1.5)
    for step in range(int(rng.integers(1, 5))):
        nerve = rng.random() < 0.45
        shift = rng.uniform(1.9, 3.2) * max(radii) * step
        turn = rng.normal(0, 0.7)
        at = (centre[0] + shift * np.cos(turn), centre[1] + shift * np.sin(turn))
        scale = rng.uniform(0.6, 1.4)
        outline = blob(rng, at, (radii[0] * scale, radii[1] * scale), roughness=0.05 + 0.06 * nerve)
        mask = fill(outline, scene.shape)
        if nerve:
            matter = Matter(
                rng.uniform(-8, 5), texture_db=rng.uniform(3, 6), grain=rng.uniform(2, 5),
                rim_db=rng.uniform(5, 11), rim_width=rng.uniform(0.8, 2.0), rim=rng.uniform(0.5, 2),
            )  # fmt: skip
        else:
            matter = Matter(
                -rng.uniform(14, 36), texture_db=1, attenuation_db=-rng.uniform(2, 14),
                rim=rng.uniform(1, 4), rim_db=rng.uniform(2, 8), rim_width=rng.uniform(0.6, 2.0),
            )  # fmt: skip
        paint(rng, scene, mask, matter)
        scene.instances.append(("nerve" if nerve else "vessel", mask))


def _tube(rng: np.random.Generator, scene: Scene) -> None:
    """A vessel along its axis: a dark band between bright walls, through the whole field."""
    height, width = scene.shape
    x = np.linspace(-0.1, 1.1, 48) * width
    middle = rng.uniform(0.25, 0.75) * height + rng.normal(0, 0.1) * (x - width / 2)
    middle += (
        rng.normal(0, 0.02) * height * np.sin(x / width * rng.uniform(2, 7) + rng.uniform(0, 6))
    )
    half = rng.uniform(0.04, 0.16) * height * (1 + 0.06 * np.sin(x / width * 5 + rng.uniform(0, 6)))
    top, bottom = np.stack([x, middle - half], -1), np.stack([x, middle + half], -1)
    mask = fill(np.concatenate([top, bottom[::-1]]).astype(np.float32), scene.shape)
    wall = fill(
        np.concatenate([top - np.array((0, 4)), bottom[::-1] + np.array((0, 4))]).astype(
            np.float32
        ),
        scene.shape,
    )
    paint(
        rng, scene, wall, Matter(rng.uniform(-8, 2), rim=rng.uniform(2, 6), rim_db=6, rim_width=1)
    )
    paint(
        rng, scene, mask,
        Matter(-rng.uniform(16, 40), texture_db=1, attenuation_db=-6, rim=rng.uniform(2, 6)),
    )  # fmt: skip
    scene.instances.append(("vessel along its axis", mask))


def _gland(rng: np.random.Generator, scene: Scene) -> None:
    """A homogeneous organ with nodules, or a bright centre, inside."""
    centre, radii = place(rng, scene, low=0.2, high=0.42, aspect=2.2)
    tilt = rng.normal(0, 0.25)
    mask = fill(blob(rng, centre, radii, roughness=0.06, angle=tilt), scene.shape)
    matter = Matter(rng.uniform(-6, 7), texture_db=1, rim=rng.uniform(0.5, 3), softness=0.8)
    paint(rng, scene, mask, matter)
    scene.instances.append(("gland", mask))
    for _ in range(int(rng.integers(1, 4))):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.55)
        at = (
            centre[0] + reach * radii[0] * np.cos(angle),
            centre[1] + reach * radii[1] * np.sin(angle),
        )
        share = rng.uniform(0.15, 0.5) * min(radii)
        stretched = (share * rng.uniform(1, 1.7), share)
        inner = fill(blob(rng, at, stretched, roughness=0.08, angle=tilt), scene.shape) & mask
        paint(rng, scene, inner, _lesion_matter(rng))
        scene.instances.append(("nodule", inner))


def _head(rng: np.random.Generator, scene: Scene) -> None:
    """A bright ellipse around darker contents: a skull or a capsule."""
    centre, radii = place(rng, scene, low=0.22, high=0.46, aspect=1.5)
    outline = blob(rng, centre, radii, roughness=0.01, angle=rng.uniform(-0.7, 0.7))
    mask = fill(outline, scene.shape)
    paint(
        rng, scene, mask,
        Matter(
            rng.uniform(-14, -2), texture_db=4, grain=12, rim=rng.uniform(2, 7),
            rim_db=rng.uniform(8, 15), rim_width=rng.uniform(1.2, 3.5),
            attenuation_db=rng.uniform(0, 8),
        ),
    )  # fmt: skip
    scene.instances.append(("head", mask))
    if rng.random() < 0.6:
        along = (outline[0] + rng.normal(0, 4, 2), outline[48] + rng.normal(0, 4, 2))
        start, end = (tuple(int(v) for v in 0.75 * p + 0.25 * np.array(centre)) for p in along)
        midline = np.zeros(scene.shape, np.float32)
        cv2.line(midline, start, end, rng.uniform(1, 3), 1, cv2.LINE_AA)
        scene.specular += midline * mask


def _chambers(rng: np.random.Generator, scene: Scene) -> None:
    """Cavities side by side in a thick wall, nested and touching, as in an apical view of a heart."""
    centre, radii = place(rng, scene, low=0.16, high=0.3, aspect=2.0)
    radii = (min(radii), max(radii))
    tilt = rng.normal(0, 0.25)
    wall = rng.uniform(1.25, 1.6)
    outer = fill(
        blob(rng, centre, (radii[0] * wall, radii[1] * wall), roughness=0.04, angle=tilt),
        scene.shape,
    )
    cavity = fill(blob(rng, centre, radii, roughness=0.07, angle=tilt), scene.shape)
    paint(rng, scene, outer, Matter(rng.uniform(-3, 5), texture_db=2, softness=1.5, rim=1))
    blood = Matter(-rng.uniform(9, 26), texture_db=2, grain=14, softness=1.6, rim=rng.uniform(0, 2))
    paint(rng, scene, cavity, blood)
    scene.instances += [("wall and cavity", outer), ("cavity", cavity)]
    if rng.random() < 0.6:
        at = (centre[0], centre[1] + radii[1] * rng.uniform(1.3, 1.6))
        size = (radii[0] * rng.uniform(0.8, 1.2), radii[1] * rng.uniform(0.4, 0.6))
        second = fill(blob(rng, at, size, roughness=0.06), scene.shape) & ~cavity
        paint(rng, scene, second, blood)
        scene.instances.append(("cavity", second))


def _complex_cyst(rng: np.random.Generator, scene: Scene) -> None:
    """A large cyst with septa, nodules on its wall, or a level of debris."""
    centre, radii = place(rng, scene, low=0.14, high=0.4, aspect=1.9)
    outline = blob(rng, centre, radii, roughness=0.07, angle=rng.normal(0, 0.4))
    mask = fill(outline, scene.shape)
    fluid = Matter(
        -rng.uniform(8, 34), texture_db=rng.uniform(1, 3), grain=20, rim=rng.uniform(1, 5),
        attenuation_db=-rng.uniform(4, 18), rim_db=rng.uniform(2, 8), rim_width=rng.uniform(0.8, 2.2),
    )  # fmt: skip
    paint(rng, scene, mask, fluid)
    scene.instances.append(("complex cyst", mask))
    for _ in range(int(rng.integers(0, 4))):
        a, b = outline[rng.integers(96)], outline[rng.integers(96)]
        septum = np.zeros(scene.shape, np.uint8)
        bow = (a + b) / 2 + rng.normal(0, 0.15, 2) * np.abs(a - b)
        curve = np.stack([(1 - t) ** 2 * a + 2 * t * (1 - t) * bow + t * t * b for t in _STEPS])
        width = int(rng.integers(1, 4))
        cv2.polylines(septum, [curve.astype(np.int32)], False, 1, width, cv2.LINE_AA)
        paint(rng, scene, (septum > 0) & mask, Matter(rng.uniform(-6, 6), rim=rng.uniform(0.5, 3)))
    if rng.random() < 0.5:
        at = outline[rng.integers(96)]
        size = rng.uniform(0.15, 0.45) * min(radii)
        nodule = fill(blob(rng, (at[0], at[1]), (size, size), roughness=0.15), scene.shape) & mask
        paint(rng, scene, nodule, Matter(rng.uniform(-8, 4), texture_db=3, softness=1.5))
        if nodule.sum() > 150:
            scene.instances.append(("solid part", nodule))


_STEPS = np.linspace(0, 1, 16)


def _calcifications(rng: np.random.Generator, scene: Scene, mask: BoolMap) -> None:
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return
    spots = np.zeros(scene.shape, np.float32)
    for index in rng.integers(len(ys), size=int(rng.integers(1, 8))):
        cv2.circle(spots, (int(xs[index]), int(ys[index])), int(rng.integers(1, 3)), 1.0, -1)
    scene.specular += spots * rng.uniform(2, 6)
    scene.attenuation_db += spots * rng.uniform(50, 400)


def _bone(rng: np.random.Generator, scene: Scene) -> None:
    """A bright arc that lets next to nothing through."""
    height, width = scene.shape
    x = np.arange(width, dtype=np.float32)
    centre, reach = rng.uniform(0, 1) * width, rng.uniform(0.08, 0.35) * width
    bump = np.clip(1 - ((x - centre) / reach) ** 2, 0, None)
    surface = rng.uniform(0.35, 0.9) * height - rng.uniform(0, 0.12) * height * np.sqrt(bump)
    y = np.arange(height, dtype=np.float32)[:, None]
    thickness = rng.uniform(1.0, 2.2)
    arc = np.exp(-((y - surface) ** 2) / (2 * thickness**2)) * (bump > 0)
    behind = ((y > surface) & (bump > 0)).astype(np.float32)
    scene.specular *= 1 - behind
    scene.specular += arc.astype(np.float32) * rng.uniform(3, 8)
    scene.attenuation_db += behind * rng.uniform(100, 300)


def _shadow_of_poor_contact(rng: np.random.Generator, scene: Scene) -> None:
    height, width = scene.shape
    x = np.arange(width, dtype=np.float32)[None, :]
    centre, reach = rng.choice((0.0, 1.0)) * width, rng.uniform(0.05, 0.2) * width
    drop = rng.uniform(8, 25) * np.exp(-(((x - centre) / reach) ** 2))
    scene.echo_db -= np.repeat(drop, height, axis=0).astype(np.float32)
