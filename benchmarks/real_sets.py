"""The real images beside the project: where they are, and their ground truth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
SETS = (
    "mvtec_ad/bottle",
    "mvtec_ad/screw",
    "mvtec_loco_flat/juice_bottle",
    "magnetic_tile",
    "hazelnut_toy",
)


def ground_truth(folder: Path, path: Path, side: int = 256) -> NDArray[np.uint8]:
    """Mask of a test image at the size of the input (nearest), zeros for a good image."""
    truth = folder / "ground_truth" / path.parent.name
    for candidate in (truth / f"{path.stem}.png", truth / f"{path.stem}_mask.png"):
        if candidate.is_file():
            mask = cv2.imread(str(candidate), cv2.IMREAD_GRAYSCALE)
            small = cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST)
            return (small > 0).astype(np.uint8)
    return np.zeros((side, side), np.uint8)
