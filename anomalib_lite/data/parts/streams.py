"""Named random streams: one independent generator per image and purpose.

An image's randomness depends on (seed, product, split, index, purpose) and on nothing else, so
image 7 is the same whether 8 or 800 are made, and a defect draws from its own stream, which
leaves scene and camera as they would be without it.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np


def stream(seed: int, *keys: str | int) -> np.random.Generator:
    """A PCG64 generator for this seed and these keys, the same on every platform."""
    words = [crc32(key.encode()) if isinstance(key, str) else key for key in keys]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))


def material_stream(name: str) -> np.random.Generator:
    """The generator of a cached material texture; fixed, so every seed sees the same factory."""
    return stream(20, "material", name)


def pick(rng: np.random.Generator, low: float, high: float) -> float:
    """One uniform draw in [low, high) as a plain float."""
    return float(rng.uniform(low, high))


def choice(rng: np.random.Generator, count: int) -> int:
    """One uniform draw of 0 .. count-1 as a plain int."""
    return int(rng.integers(count))
