"""What scoring a pool costs, estimated before it starts: memory, disk space, time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from anomalib_lite.scorers.mutual.matmul import both_maxima, make_factors
from anomalib_lite.scorers.mutual.plan import BLOCK, JudgePlan
from anomalib_lite.scorers.mutual.pool_scores import PassSettings, PoolLayer, compare_device

_TILES_BYTES = 96 << 20
_PROBED = 2e9  # multiplications: some hundredths of a second
_REPEATS = 3


def pool_bytes(plan: JudgePlan, layers: Sequence[PoolLayer]) -> tuple[int, int]:
    """Peak memory and disk space, bytes."""
    images = len(plan.order)
    blocks = [(len(plan.members(b)), plan.width(b)) for b in range(len(plan.judges))]
    cells = [len(layer.cells) for layer in layers]
    tokens = [images * p * layer.shape[0] for p, layer in zip(cells, layers, strict=True)]
    maps = [images * math.prod(layer.shape) for layer in layers]
    maxima = max(cells) * sum(members * width for members, width in blocks)
    taken = max(cells) * max(members * width for members, width in blocks)
    memory = 4 * (max(tokens) + 4 * taken + 6 * images * sum(cells)) + _TILES_BYTES
    return memory, 4 * (sum(maps) + maxima)


def compare_seconds(plan: JudgePlan, layers: Sequence[PoolLayer], settings: PassSettings) -> float:
    """Time of all comparisons, from a few of them on random tokens on this machine as it is now."""
    passes = len(settings.degrees) * plan.products
    return passes * sum(_seconds_of_pair(layer, settings) for layer in layers)


def _seconds_of_pair(layer: PoolLayer, settings: PassSettings) -> float:
    cells, channels = len(layer.cells), layer.shape[0]
    side = min(BLOCK, max(1, math.isqrt(int(_PROBED / (cells * cells * channels)))))
    generator = torch.Generator().manual_seed(0)
    tokens = F.normalize(torch.randn(2 * side, cells, channels, generator=generator), dim=2)
    tokens = tokens.to(compare_device(layer, settings.products))
    factors = make_factors(tokens, settings.products)
    left, right = (factors._replace(rows=rows) for rows in factors.rows.split(side))
    taken = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        both_maxima(left, right)[0].cpu()
        taken.append(time.perf_counter() - start)
    return min(taken) / (side * side)
