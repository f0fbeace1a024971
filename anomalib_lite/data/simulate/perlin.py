"""DRAEM's anomaly masks: thresholded, turned Perlin noise (Zavrtanik et al., ICCV 2021)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.errors import SettingsError

FloatImage = NDArray[np.float32]

_MOST_DOUBLINGS = 5  # 1 to 32 cells along each axis
_THRESHOLD = 0.5
_LARGEST_TURN = 90.0  # degrees


def perlin_masks(
    rng: np.random.Generator, count: int, size_hw: tuple[int, int]
) -> NDArray[np.bool_]:
    """Masks of random scale and direction, bool `(count, h, w)`; some of them are empty.

    Cells along each axis: 2^k, k uniform in 0..5, drawn for rows and columns apart; the noise is
    turned by up to 90 degrees with zero fill, then cut at 0.5.

    Raises:
        SettingsError: a side of less than 1 pixel.
    """
    if min(size_hw) < 1:
        raise SettingsError(f"masks of {size_hw[0]}x{size_hw[1]} pixels hold nothing")
    masks = np.empty((count, *size_hw), bool)
    for mask in masks:
        rows, columns = (2 ** rng.integers(0, _MOST_DOUBLINGS + 1, 2)).tolist()
        noise = perlin_noise(rng, size_hw, (rows, columns))
        np.greater(
            turned(noise, float(rng.uniform(-_LARGEST_TURN, _LARGEST_TURN))), _THRESHOLD, mask
        )
    return masks


def perlin_noise(
    rng: np.random.Generator, size_hw: tuple[int, int], cells_yx: tuple[int, int]
) -> FloatImage:
    """Gradient noise of about -1 to 1, float32 `(h, w)`.

    The blend of the four corners' gradients is bilinear in the lattice: with the interpolation
    weights of rows and columns as matrices it is two products, and no picture of corners is built.

    Args:
        rng: draws an angle for each of the (rows + 1) x (columns + 1) lattice points.
        size_hw: height and width, pixels.
        cells_yx: lattice cells along rows and columns.
    """
    angles = rng.uniform(0, 2 * np.pi, (cells_yx[0] + 1, cells_yx[1] + 1))
    weight_y, slope_y = _interpolation(size_hw[0], cells_yx[0])
    weight_x, slope_x = _interpolation(size_hw[1], cells_yx[1])
    along_rows = slope_y @ np.sin(angles).astype(np.float32) @ weight_x.T
    along_columns = weight_y @ np.cos(angles).astype(np.float32) @ slope_x.T
    noise: FloatImage = np.float32(np.sqrt(2)) * (along_rows + along_columns)
    return noise


def turned(picture: FloatImage, degrees: float) -> FloatImage:
    """The picture turned around its centre, zero where nothing was; bilinear."""
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(picture, turn, (width, height), flags=cv2.INTER_LINEAR))


def _interpolation(length: int, cells: int) -> tuple[FloatImage, FloatImage]:
    """Share of each lattice line in each pixel, `(length, cells + 1)`, and that times the distance.

    Weights follow 6t^5 - 15t^4 + 10t^3; distances are in cells.
    """
    place = np.arange(length) * cells / length
    cell = np.floor(place).astype(int)
    t = place - cell
    fade = t**3 * (t * (t * 6 - 15) + 10)
    weight = np.zeros((length, cells + 1), np.float32)
    slope = np.zeros((length, cells + 1), np.float32)
    pixel = np.arange(length)
    weight[pixel, cell], weight[pixel, cell + 1] = 1 - fade, fade
    slope[pixel, cell], slope[pixel, cell + 1] = (1 - fade) * t, fade * (t - 1)
    return weight, slope
