"""Textures to paste: a folder of pictures, or procedural ones of the package."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.pictures import procedural_picture
from anomalib_lite.edge.errors import FrameError, SourceError
from anomalib_lite.edge.sources import open_source

Picture = NDArray[np.uint8]

_PROCEDURAL = 64
_KEPT = 256  # decoded textures in memory; 50 MB at 256 pixels


class TextureBank:
    """Textures of one size, made when first asked for, a bounded number of them kept.

    Args:
        makers: one call a texture; gives uint8 `(h, w, 3)`, the same at every call, or raises
            `FrameError`: the next one stands in for it.

    Attributes:
        count: number of textures.
    """

    def __init__(self, makers: list[Callable[[], Picture]]) -> None:
        self.count = len(makers)
        self._get = lru_cache(maxsize=_KEPT)(lambda index: _first(makers, index))

    def texture(self, index: int) -> Picture:
        """Texture of that index, uint8 RGB `(h, w, 3)`; not to be written to.

        Raises:
            FrameError: no texture of the bank can be read.
        """
        return self._get(index)

    def draw(self, rng: np.random.Generator) -> Picture:
        """A random one, mirrored at random, uint8 RGB `(h, w, 3)`."""
        texture = self.texture(int(rng.integers(self.count)))
        rows, columns = rng.choice([1, -1], 2).tolist()
        return texture[::rows, ::columns]


def _first(makers: list[Callable[[], Picture]], index: int) -> Picture:
    """The texture at `index`, or the next that can be read."""
    for make in makers[index:] + makers[:index]:
        try:
            return make()
        except FrameError as error:
            unread = error
    raise unread


def procedural_textures(
    size_hw: tuple[int, int], *, seed: int = 0, count: int = _PROCEDURAL
) -> TextureBank:
    """Pictures from formulas; no third-party picture is in them."""

    def maker(index: int) -> Callable[[], Picture]:
        return lambda: procedural_picture(np.random.default_rng([seed, 0x7E87, index]), size_hw)

    return TextureBank([maker(index) for index in range(count)])


def texture_folder(folder: str | Path, size_hw: tuple[int, int]) -> TextureBank:
    """The pictures below a folder, resized without regard to their aspect, as DRAEM does.

    Raises:
        SourceError: nothing is there, or it holds no picture that can be decoded.
    """
    jobs = list(open_source(str(folder)).jobs())
    bank = TextureBank([lambda job=job: _resized(job.load(), size_hw) for job in jobs])  # type: ignore[misc]
    try:
        bank.texture(0)
    except FrameError as error:
        raise SourceError(
            f"{folder}: none of its {len(jobs)} pictures can be read: {error}"
        ) from error
    return bank


def _resized(frame: NDArray[np.uint8 | np.uint16], size_hw: tuple[int, int]) -> Picture:
    picture = (frame >> 8).astype(np.uint8) if frame.dtype == np.uint16 else frame
    if picture.ndim == 2 or picture.shape[2] == 1:
        picture = np.repeat(picture.reshape(*picture.shape[:2], 1), 3, axis=2)
    resized = cv2.resize(
        np.ascontiguousarray(picture[:, :, :3]), size_hw[::-1], interpolation=cv2.INTER_LINEAR
    )
    return np.asarray(resized, np.uint8)
