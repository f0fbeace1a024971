"""What a defect does to the pixels under it. Windows are float32 `(h, w, C)` in grey levels 0..255.

Marks change the picture by their contrast, towards the side where there is room. Where a defect
shows the picture itself again (missing, doubled, blurred, pasted), contrast is a limit instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.simulate.textures import TextureBank

FloatImage = NDArray[np.float32]

_WHITE = np.float32(255)


@dataclass(frozen=True, eq=False)
class Window:
    """The place of one defect.

    Attributes:
        pixels: what is there, float32 `(h, w, C)`.
        cover: share by which each pixel is changed, float32 `(h, w)`.
        part: which of these pixels are the part, bool `(h, w)`.
        size: pixels.
        contrast: grey levels, or None.
        elsewhere: gives such a window from another place of the picture.
        textures: what a foreign body is made of; None takes plain grain.
        rng: draws all that is left open.
    """

    pixels: FloatImage
    cover: FloatImage
    part: NDArray[np.bool_]
    size: float
    contrast: float | None
    elsewhere: Callable[[], FloatImage]
    textures: TextureBank | None
    rng: np.random.Generator

    @property
    def mean(self) -> float:
        """Mean level of the covered pixels."""
        return float((self.pixels.mean(axis=2) * self.cover).sum() / self.cover.sum())

    @property
    def step(self) -> float:
        """The contrast with its sign: at random where there is room on both sides."""
        contrast = 0.0 if self.contrast is None else self.contrast
        sign = 1.0 if self.rng.random() < 0.5 else -1.0
        if 0 <= self.mean + sign * contrast <= _WHITE:
            return sign * contrast
        return contrast if self.mean < _WHITE / 2 else -contrast


def mark(window: Window) -> FloatImage:
    """Brighter or darker by the contrast."""
    return _mixed(window, window.pixels + np.float32(window.step))


def dark_mark(window: Window) -> FloatImage:
    """Darker by the contrast where there is room, else brighter."""
    contrast = window.contrast or 0.0
    step = -contrast if window.mean >= contrast or window.mean >= _WHITE / 2 else contrast
    return _mixed(window, window.pixels + np.float32(step))


def stain(window: Window) -> FloatImage:
    """See-through, darker at its rim; its channels differ in colour pictures."""
    contrast, mean = window.contrast or 0.0, window.mean
    channels = window.pixels.shape[2]
    tint = np.asarray(window.rng.uniform(0.7, 1.3, channels))
    weight = (tint / tint.mean()).astype(np.float32)
    inner = cv2.GaussianBlur(window.cover, (0, 0), max(0.6, window.size / 12))
    rim = 1 + np.clip(window.cover - inner, 0, 1)
    share = rim / ((rim * window.cover).sum() / window.cover.sum())
    dark = mean >= contrast
    room = window.pixels if dark else window.pixels - _WHITE
    total = (room.mean(axis=2) * window.cover).sum() / window.cover.sum()
    gain = contrast / max(abs(float(total)), 1.0)
    return _mixed(window, window.pixels - room * (gain * share)[:, :, None] * weight)


def dent(window: Window) -> FloatImage:
    """Lit on one flank and shaded on the other; its steepest place changes by the contrast."""
    height, width = window.cover.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    light = window.rng.uniform(0, 2 * np.pi)
    radius = np.hypot(y, x)
    slope = np.sin(np.pi * np.clip(radius / (window.size / 2), 0, 1))
    facing = np.cos(np.arctan2(y, x) - light)
    shade = (slope * facing).astype(np.float32)
    shade = shade / max(float(np.abs(shade).max()), 1e-6)
    changed: FloatImage = window.pixels + np.float32(window.contrast or 0.0) * shade[:, :, None]
    return np.where(window.cover[:, :, None] > 0, changed, window.pixels).astype(np.float32)


def colour_shift(window: Window) -> FloatImage:
    """Channels moved apart, the strongest by the contrast; brighter or darker in grey pictures."""
    channels = window.pixels.shape[2]
    shift = np.ones(channels)
    if channels == 3:
        drawn = np.asarray(window.rng.uniform(-1, 1, channels))
        shift = drawn - drawn.mean()
    shift = shift / max(float(np.abs(shift).max()), 1e-6) * (window.contrast or 0.0)
    mean = (window.pixels * window.cover[:, :, None]).sum(axis=(0, 1)) / window.cover.sum()
    strongest = int(np.abs(shift).argmax())
    if not 0 <= mean[strongest] + shift[strongest] <= _WHITE:
        shift = -shift
    return _mixed(window, window.pixels + shift.astype(np.float32))


def foreign_body(window: Window) -> FloatImage:
    """Something opaque with a texture and light of its own, brighter or darker by the contrast."""
    height, width = window.cover.shape
    rng = window.rng
    if window.textures is None:
        grain = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (3, 3), 0)
        body = np.repeat(10 * grain[:, :, None], 3, axis=2)
    else:
        texture = window.textures.draw(rng)
        top, left = (int(rng.integers(max(1, n))) for n in texture.shape[:2])
        rows = (top + np.arange(height)) % texture.shape[0]
        columns = (left + np.arange(width)) % texture.shape[1]
        body = texture[rows][:, columns].astype(np.float32) / 4
    light = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    slope = (x - width / 2) * np.cos(light) + (y - height / 2) * np.sin(light)
    body = body + (20 * slope / max(height, width)).astype(np.float32)[:, :, None]
    if window.pixels.shape[2] == 1:
        body = body.mean(axis=2, keepdims=True)
    level = (body.mean(axis=2) * window.cover).sum() / window.cover.sum()
    return _mixed(window, body - np.float32(level) + np.float32(window.mean + window.step))


def chip(window: Window) -> FloatImage:
    """A piece of the part broken off: the ground beside it shows."""
    ground = window.pixels[~window.part]
    tone = np.median(ground, axis=0) if len(ground) else np.zeros(window.pixels.shape[2])
    grain = window.rng.normal(0, max(1.0, float(ground.std(axis=0).mean()) / 3), window.cover.shape)
    replaced = tone.astype(np.float32) + grain.astype(np.float32)[:, :, None]
    return _limited(window, np.asarray(replaced, np.float32))


def missing(window: Window) -> FloatImage:
    """The surroundings, smoothed into the region."""
    keep = np.repeat((1 - window.cover)[:, :, None], window.pixels.shape[2], axis=2)
    sigma = max(1.5, window.size / 4)
    share = _blurred(keep, sigma)
    filled = _blurred(window.pixels * keep, sigma) / np.maximum(share, 1e-3)
    return _limited(window, np.asarray(filled, np.float32))


def doubled(window: Window) -> FloatImage:
    """Another place of the same picture, once more."""
    return _limited(window, window.elsewhere())


def blur(window: Window) -> FloatImage:
    """Out of focus."""
    return _limited(window, _blurred(window.pixels, float(window.rng.uniform(1.5, 4.0))))


def cut_and_paste(window: Window) -> FloatImage:
    """CutPaste (Li et al., CVPR 2021): a patch from elsewhere, its light jittered by a tenth."""
    patch = window.elsewhere()
    gain, offset = window.rng.uniform(0.9, 1.1), window.rng.uniform(-25.5, 25.5)
    return _limited(window, (patch * np.float32(gain) + np.float32(offset)).astype(np.float32))


def _blurred(picture: FloatImage, sigma: float) -> FloatImage:
    soft = cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(soft, np.float32).reshape(picture.shape)


def _mixed(window: Window, replaced: FloatImage) -> FloatImage:
    mixed = window.pixels + window.cover[:, :, None] * (replaced - window.pixels)
    return mixed.astype(np.float32)


def _limited(window: Window, replaced: FloatImage) -> FloatImage:
    """Mixed, the change weakened so that none exceeds the contrast."""
    change = np.clip(replaced, 0, _WHITE) - window.pixels
    largest = float(np.abs(change[window.cover > 0]).max(initial=0))
    if window.contrast is not None and largest > window.contrast:
        change = change * np.float32(window.contrast / largest)
    return _mixed(window, window.pixels + change)
