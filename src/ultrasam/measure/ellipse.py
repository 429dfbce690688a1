"""The ellipse that fits an outline best, and its circumference: a fetal head's or abdomen's, for example."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ultrasam.errors import MeasurementError
from ultrasam.measure.outline import (
    PIXELS,
    BoolMask,
    Points,
    Spacing,
    largest_part,
    outline_points,
    require_spacing,
)


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipse; lengths are in the unit of the spacing that it was fitted with.

    Attributes:
        center: (x, y) from the top-left corner of the image.
        semi_major, semi_minor: half the long and the short axis.
        angle: of the long axis against the x axis, in radians, from -π/2 to π/2; y points down.
    """

    center: tuple[float, float]
    semi_major: float
    semi_minor: float
    angle: float

    @property
    def circumference(self) -> float:
        """Exact, by the arithmetic-geometric mean (Abramowitz and Stegun 1964, 17.6: Gauss's method for the
        complete elliptic integral of the second kind)."""
        a, b = self.semi_major, self.semi_minor
        total, weight = a * a, 0.5
        difference = math.sqrt((a - b) * (a + b))
        while True:
            total -= weight * difference**2
            if difference <= 1e-15 * a:
                return 2 * math.pi * total / a
            difference = (a - b) / 2
            a, b = (a + b) / 2, math.sqrt(a * b)
            weight *= 2

    @property
    def area(self) -> float:
        """π times both semi-axes."""
        return math.pi * self.semi_major * self.semi_minor


def fit_ellipse(mask: BoolMask, spacing: Spacing = PIXELS) -> Ellipse:
    """The ellipse that fits the outline of a mask's largest part, by direct least squares.

    The fit minimizes the algebraic distance under the constraint that the conic is an ellipse (Fitzgibbon,
    Pilu and Fisher 1999), in the numerically stable form of Halíř and Flusser (1998). Holes do not matter.
    Where the image cuts an object off, the image's edge is not part of its outline.

    Args:
        mask: [H, W].
        spacing: distance between pixel centers (row, column); pixels need not be square.

    Raises:
        MeasurementError: The mask is empty, less than half of its outline lies within the image, or no
            ellipse fits, as for a line.
    """
    require_spacing(spacing)
    part = largest_part(mask)
    points = outline_points(part, spacing, within=True)
    if 2 * len(points) < len(outline_points(part)):
        raise MeasurementError(
            "The image cuts off more than half of the outline; no ellipse can be fitted to the rest."
        )
    return ellipse_through(points)


def equivalent_ellipse(mask: BoolMask, spacing: Spacing = PIXELS) -> Ellipse:
    """The ellipse with the second central moments of a mask's largest part (Hu 1962).

    Its axes describe the whole shape, not its outline alone, so that a notch changes them little. Its area
    is that of the shape only for an ellipse. A pixel counts as the point at its center, so a line of single
    pixels has a short axis of 0.

    Args:
        mask: [H, W].
        spacing: distance between pixel centers (row, column); pixels need not be square.

    Raises:
        MeasurementError: The mask is empty, or the spacing is not positive.
    """
    require_spacing(spacing)
    rows, columns = np.nonzero(largest_part(mask))
    points = np.stack([columns + 0.5, rows + 0.5], axis=1) * spacing[::-1]
    center = points.mean(axis=0)
    spread = (points - center).T @ (points - center) / len(points)
    variances, axes = np.linalg.eigh(spread)
    dx, dy = axes[:, 1] if axes[0, 1] >= 0 else -axes[:, 1]
    minor, major = (2 * math.sqrt(max(0.0, float(v))) for v in variances)
    return Ellipse((float(center[0]), float(center[1])), major, minor, math.atan2(dy, dx))


def ellipse_through(points: Points) -> Ellipse:
    """The ellipse that fits points [K, 2] of (x, y) best; see `fit_ellipse`.

    Raises:
        MeasurementError: There are fewer than six points, or no ellipse fits.
    """
    no_ellipse = MeasurementError("No ellipse fits the outline; the object is too small or a line.")
    if len(points) < 6:
        raise no_ellipse
    middle, scale = points.mean(axis=0), float(points.std())
    x, y = ((points - middle) / scale).T
    quadratic = np.stack([x * x, x * y, y * y], axis=1)
    linear = np.stack([x, y, np.ones_like(x)], axis=1)
    try:
        reduction = -np.linalg.solve(linear.T @ linear, linear.T @ quadratic)
        scatter = quadratic.T @ quadratic + quadratic.T @ linear @ reduction
        scatter = np.stack([scatter[2] / 2, -scatter[1], scatter[0] / 2])
        vectors = np.linalg.eig(scatter)[1].real
        constraint = 4 * vectors[0] * vectors[2] - vectors[1] ** 2
        conic = vectors[:, int(constraint.argmax())]
        d, e, f = reduction @ conic
        form = np.array([[conic[0], conic[1] / 2], [conic[1] / 2, conic[2]]])
        center = np.linalg.solve(-2 * form, (d, e))
    except np.linalg.LinAlgError as error:
        raise no_ellipse from error
    eigenvalues, axes = np.linalg.eigh(form)
    squares = -(f + (d * center[0] + e * center[1]) / 2) / eigenvalues
    if not (np.isfinite(squares).all() and (squares > 0).all()):
        raise no_ellipse
    long = int(squares.argmax())
    dx, dy = axes[:, long] if axes[0, long] >= 0 else -axes[:, long]
    center_x, center_y = (float(v) for v in middle + scale * center)
    major, minor = (scale * math.sqrt(float(v)) for v in (squares[long], squares[1 - long]))
    return Ellipse((center_x, center_y), major, minor, math.atan2(dy, dx))
