"""The ten changes of a texture before DRAEM pastes it; uint8 RGB `(h, w, 3)` in and out.

Most are one table of 256 levels a channel: a lookup costs a twentieth of decoding a picture.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Operation = Callable[[np.random.Generator, Picture], Picture]

_LEVELS = np.arange(256)
_CHANGES = 3
_BRIGHTNESS = (
    (cv2.COLOR_RGB2YCrCb, cv2.COLOR_YCrCb2RGB, 0),
    (cv2.COLOR_RGB2HSV, cv2.COLOR_HSV2RGB, 2),
    (cv2.COLOR_RGB2HLS, cv2.COLOR_HLS2RGB, 1),
)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
_LARGEST_CUT = 0.2  # share of pixels that auto-contrast may drive to black and to white


def change_texture(rng: np.random.Generator, texture: Picture) -> Picture:
    """Three of the ten operations, drawn without replacement, in the order drawn."""
    for index in rng.choice(len(OPERATIONS), _CHANGES, replace=False):
        texture = OPERATIONS[index](rng, texture)
    return texture


def _by_table(texture: Picture, table: NDArray[np.floating] | NDArray[np.integer]) -> Picture:
    """Each level replaced; one table `(256,)`, or one a channel `(256, 3)`."""
    levels = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    if levels.ndim == 2:
        levels = levels[None]
    return np.asarray(cv2.LUT(np.ascontiguousarray(texture), levels), np.uint8)


def gamma(rng: np.random.Generator, texture: Picture) -> Picture:
    """Another gamma for each channel, 0.5 to 2."""
    return _by_table(texture, 255 * (_LEVELS[:, None] / 255) ** rng.uniform(0.5, 2.0, 3))


def brightness(rng: np.random.Generator, texture: Picture) -> Picture:
    """Multiply by 0.8 to 1.2 and add -30 to 30, in either order, in the brightness of a space."""
    there, back, channel = _BRIGHTNESS[rng.integers(len(_BRIGHTNESS))]
    gain, offset = rng.uniform(0.8, 1.2), rng.uniform(-30, 30)
    levels = (_LEVELS + offset) * gain if rng.random() < 0.5 else _LEVELS * gain + offset
    table = np.repeat(_LEVELS[:, None], 3, axis=1).astype(np.float64)
    table[:, channel] = levels
    seen = np.asarray(cv2.cvtColor(np.ascontiguousarray(texture), there), np.uint8)
    return np.asarray(cv2.cvtColor(_by_table(seen, table), back), np.uint8)


def sharpness(rng: np.random.Generator, texture: Picture) -> Picture:
    """Blend with a smoothed copy: 0.1 is soft, 1.9 is sharp; the outermost pixels stay."""
    factor = float(rng.uniform(0.1, 1.9))
    smooth = np.asarray(cv2.filter2D(np.ascontiguousarray(texture), -1, _SMOOTH))
    mixed = np.asarray(cv2.addWeighted(texture, factor, smooth, 1 - factor, 0), np.uint8)
    whole = texture.copy()
    whole[1:-1, 1:-1] = mixed[1:-1, 1:-1]
    return whole


def hue_and_saturation(rng: np.random.Generator, texture: Picture) -> Picture:
    """Turn the hue and shift the saturation, each by up to 50 of 255."""
    turn, shift = rng.integers(-50, 51, 2).tolist()
    hue = (_LEVELS + round(turn / 255 * 180)) % 180  # OpenCV's 8-bit hue has 180 steps
    table = np.stack([hue, _LEVELS + shift, _LEVELS], axis=1)
    seen = np.asarray(cv2.cvtColor(np.ascontiguousarray(texture), cv2.COLOR_RGB2HSV), np.uint8)
    return np.asarray(cv2.cvtColor(_by_table(seen, table), cv2.COLOR_HSV2RGB), np.uint8)


def solarise(rng: np.random.Generator, texture: Picture) -> Picture:
    """With probability 0.5, invert what is brighter than a threshold of 32 to 128."""
    threshold, wanted = rng.integers(32, 129), rng.random() < 0.5
    table = np.where(threshold <= _LEVELS, 255 - _LEVELS, _LEVELS)
    return _by_table(texture, table) if wanted else texture


def posterise(rng: np.random.Generator, texture: Picture) -> Picture:
    """Keep the 1 to 8 highest bits of each level."""
    return _by_table(texture, _LEVELS & (0xFF00 >> int(rng.integers(1, 9))))


def invert(rng: np.random.Generator, texture: Picture) -> Picture:
    """Dark for light."""
    return _by_table(texture, 255 - _LEVELS)


def autocontrast(rng: np.random.Generator, texture: Picture) -> Picture:
    """Stretch each channel to 0..255, up to a fifth of its pixels cut off at either end."""
    cut = rng.uniform(0, _LARGEST_CUT)
    table = np.empty((256, 3))
    for channel, count in enumerate(_histograms(texture)):
        filled = np.cumsum(count) / count.sum()
        low, high = int(np.searchsorted(filled, cut)), int(np.searchsorted(filled, 1 - cut))
        stretched = (_LEVELS - low) * 255 / max(high - low, 1)
        table[:, channel] = stretched if high > low else _LEVELS
    return _by_table(texture, table)


def equalise(rng: np.random.Generator, texture: Picture) -> Picture:
    """Spread the levels of each channel evenly."""
    table = np.empty((256, 3))
    for channel, count in enumerate(_histograms(texture)):
        below = np.cumsum(count) - count
        room = count.sum() - count[count.nonzero()[0][-1]]
        table[:, channel] = below * 255 / room if room else _LEVELS
    return _by_table(texture, table)


def turn(rng: np.random.Generator, texture: Picture) -> Picture:
    """Turn by up to 45 degrees, black where nothing was."""
    height, width = texture.shape[:2]
    centre = ((width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, float(rng.uniform(-45, 45)), 1.0)
    return np.asarray(
        cv2.warpAffine(np.ascontiguousarray(texture), matrix, (width, height)), np.uint8
    )


def _histograms(texture: Picture) -> list[NDArray[np.int64]]:
    counts = [cv2.calcHist([texture], [channel], None, [256], [0, 256]) for channel in range(3)]
    return [count.ravel().astype(np.int64) for count in counts]


OPERATIONS: tuple[Operation, ...] = (
    gamma,
    brightness,
    sharpness,
    hue_and_saturation,
    solarise,
    posterise,
    invert,
    autocontrast,
    equalise,
    turn,
)
"""All ten; each draws its strength from the generator."""
