"""DRAEM's training pictures: textures pasted under Perlin masks (Zavrtanik et al., ICCV 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.simulate.perlin import perlin_masks
from anomalib_lite.data.simulate.texture_operations import change_texture
from anomalib_lite.data.simulate.textures import TextureBank
from anomalib_lite.edge.errors import SettingsError

_GOOD = 0.5  # share of pictures that are left as they are
_TURNED = 0.3
_LARGEST_TURN = 90.0  # degrees
MOST_SEE_THROUGH = 0.8


@dataclass(frozen=True, eq=False)
class PastedBatch:
    """Good pictures, half of them with textures pasted in.

    Attributes:
        clean: what is to be reconstructed, uint8 `(N, h, w, 3)`; some turned.
        frames: the same with textures, uint8 `(N, h, w, 3)`; equal to `clean` outside the masks.
        masks: where a texture was pasted, bool `(N, h, w)`.
        labels: whether anything was, bool `(N,)`.
    """

    clean: NDArray[np.uint8]
    frames: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    labels: NDArray[np.bool_]


def paste_textures(
    rng: np.random.Generator,
    frames: NDArray[np.uint8],
    textures: TextureBank,
    *,
    good: float = _GOOD,
    turned: float = _TURNED,
) -> PastedBatch:
    """A training batch of DRAEM: I_a = (1 - M) I + M ((1 - b) A + b I), b uniform in 0..0.8.

    Args:
        rng: the same state gives the same bytes.
        frames: good pictures, uint8 `(N, h, w, 3)`; not changed.
        textures: of the same size; each is changed by three random operations.
        good: probability that a picture stays good; 0.5 in the paper.
        turned: probability that a picture is turned by up to 90 degrees first; 0.3 in the paper.

    Raises:
        SettingsError: frames of another kind.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise SettingsError(
            f"frames are {frames.dtype} of shape {frames.shape}; give uint8 (N, h, w, 3)"
        )
    size_hw = (frames.shape[1], frames.shape[2])
    clean = np.stack([_turned(rng, frame, turned) for frame in frames]) if len(frames) else frames
    pasted = np.flatnonzero(rng.random(len(frames)) >= good)
    masks = np.zeros((len(frames), *size_hw), bool)
    masks[pasted] = perlin_masks(rng, len(pasted), size_hw)
    changed = clean.copy()
    for picture, mask in zip(changed, masks, strict=True):
        if mask.any():
            texture = change_texture(rng, textures.draw(rng))
            see_through = float(rng.uniform(0, MOST_SEE_THROUGH))
            mixed = cv2.addWeighted(texture, 1 - see_through, picture, see_through, 0)
            cv2.copyTo(mixed, mask.view(np.uint8), picture)
    labels: NDArray[np.bool_] = np.asarray(masks.any(axis=(1, 2)))
    return PastedBatch(clean, changed, masks, labels)


def _turned(
    rng: np.random.Generator, frame: NDArray[np.uint8], probability: float
) -> NDArray[np.uint8]:
    degrees, wanted = float(rng.uniform(-_LARGEST_TURN, _LARGEST_TURN)), rng.random() < probability
    if not wanted:
        return frame
    height, width = frame.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(frame, turn, (width, height)), np.uint8)
