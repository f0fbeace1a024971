"""Nearest tokens of two groups of images, from products whose maxima are taken on the spot.

The tokens are unit vectors, so the nearest has the largest product and `d = sqrt(2 - 2 max)`. One
product of images i and j serves both: its row maxima belong to i, its column maxima to j. A tile of
products fits the processor's cache and is forgotten after its two maxima.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

Products = Literal["float32", "int16", "int8"]

_TILE_NUMBERS = 5 << 17  # of 4 bytes: most of a second-level cache
_INT8_LARGEST = 127
_INT16_LARGEST = 127 * 128
_HALF = 128
_ROUNDED_IMAGES = 64


class Factors(NamedTuple):
    """Tokens made ready for products.

    Attributes:
        rows: `(N, P, n)`; float32, or int8 that stands for rounded numbers.
        scale: products times this are those of the unit vectors.
        multiply: `rows, columns -> products` of two-dimensional parts of `rows`.
    """

    rows: Tensor
    scale: float
    multiply: Callable[[Tensor, Tensor], Tensor]


def make_factors(tokens: Tensor, products: Products = "float32") -> Factors:
    """Unit vectors `(N, P, C)` as factors.

    Rounded ones share one step over the whole pool. The channels are turned by one random rotation
    first, which changes no product and spreads the few large channels of transformers over all:
    that halves the step. Products of int8 are whole numbers, the same on any number of threads.

    Args:
        tokens: `(N, P, C)`.
        products: `float32`; `int8` rounds to 8 bits; `int16` to 15 bits, kept as two int8 of which
            the smallest product (that of the lower halves) is left out.
    """
    if products == "float32":
        return Factors(tokens, 1.0, _multiply_floats)
    generator = torch.Generator().manual_seed(0)
    width = tokens.shape[2]
    square = torch.randn(width, width, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(square).Q.float().to(tokens.device)
    parts = tokens.split(_ROUNDED_IMAGES)
    largest = max(1e-12, *(float((part @ turn).abs().max()) for part in parts))
    fine = products == "int16"
    step = largest / (_INT16_LARGEST if fine else _INT8_LARGEST)
    rows = tokens.new_empty(*tokens.shape[:2], width * (2 if fine else 1), dtype=torch.int8)
    for part, place in zip(parts, rows.split(_ROUNDED_IMAGES), strict=True):
        whole = (part @ turn / step).round_()
        if fine:
            upper = ((whole + _HALF / 2) / _HALF).floor_()
            place[..., :width] = upper
            place[..., width:] = whole - _HALF * upper
        else:
            place.copy_(whole)
    if fine:
        return Factors(rows, _HALF * step * step, _multiply_halves)
    return Factors(rows, step * step, _multiply_bytes)


def both_maxima(left: Factors, right: Factors) -> tuple[Tensor, Tensor]:
    """Largest product of each token with the tokens of each image of the other group.

    Args:
        left: factors of `a` images with P tokens each.
        right: factors of `b` images of the same pool; the same object for a group with itself.

    Returns:
        float32 `(a, b, P)` of the left tokens and `(b, a, P)` of the right ones.
    """
    a, cells = left.rows.shape[:2]
    b = right.rows.shape[0]
    side = max(1, math.isqrt(_TILE_NUMBERS) // cells)
    place = left.rows.device
    of_left = torch.empty(a, b, cells, device=place)
    # A group with itself: one half of the tiles gives both halves.
    own = left is right
    of_right = of_left if own else torch.empty(b, a, cells, device=place)
    for i in range(0, a, side):
        rows = left.rows[i : i + side]
        for j in range(i if own else 0, b, side):
            columns = right.rows[j : j + side]
            tile = left.multiply(rows.flatten(0, 1), columns.flatten(0, 1))
            tile = tile.view(len(rows), cells, len(columns), cells)
            of_left[i : i + side, j : j + side] = tile.amax(dim=3).transpose(1, 2)
            of_right[j : j + side, i : i + side] = tile.amax(dim=1).permute(1, 0, 2)
    if left.scale != 1.0:
        of_left.mul_(left.scale)
        if not own:
            of_right.mul_(left.scale)
    return of_left, of_right


def _multiply_floats(rows: Tensor, columns: Tensor) -> Tensor:
    """`rows @ columns.T` in full float32 precision."""
    if _ONEDNN is not None and rows.device.type == "cpu":
        return _ONEDNN(rows, columns, None, "none", [], "")  # type: ignore[no-any-return]
    return torch.mm(rows, columns.T)


def _multiply_bytes(rows: Tensor, columns: Tensor) -> Tensor:
    """`rows @ columns.T` of int8, int32; torch has no public product for it on the CPU."""
    return torch._int_mm(rows, columns.T)


def _multiply_halves(rows: Tensor, columns: Tensor) -> Tensor:
    """Products of `128 upper + lower` but for lower times lower, divided by 128; int32."""
    width = rows.shape[1] // 2
    crossed = torch.cat([columns[:, width:], columns[:, :width]], dim=1)
    upper = torch._int_mm(rows[:, :width].contiguous(), columns[:, :width].contiguous().T)
    return torch._int_mm(rows, crossed.T).add_(upper, alpha=_HALF)


def _onednn() -> Any:
    """oneDNN's product, twice as fast as torch's default one on some processors, or None."""
    try:
        product = torch.ops.mkldnn._linear_pointwise
        example = torch.eye(4)
        usable = torch.equal(product(example, example, None, "none", [], ""), example)
    except (AttributeError, RuntimeError, NotImplementedError):
        return None
    return product if usable else None


_ONEDNN = _onednn()


def int8_is_exact() -> bool:
    """Whether this machine multiplies int8 exactly (some without VNNI saturate)."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(-127, 128, (32, 64), generator=generator, dtype=torch.int8)
    rows[0] = _INT8_LARGEST
    try:
        found = torch._int_mm(rows, rows.T)
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return torch.equal(found.long(), rows.long() @ rows.long().T)


def kept_judges(judges: int, share: float) -> int:
    """MSM: how many of the nearest judges count; `floor(share * judges)`, at least one."""
    return max(1, math.floor(share * judges + 1e-9))


def interval_mean(products: Tensor, kept: int) -> Tensor:
    """MSM (section 3.3 of MuSc): mean distance to the nearest token of the nearest judges.

    Args:
        products: largest products `(..., M)` with each of M judges; -inf is no judge.
        kept: so many judges count.

    Returns:
        `(...)`, 0 to 2.
    """
    nearest = products.topk(kept, dim=-1, sorted=False).values
    return (2 - 2 * nearest).clamp_(min=0).sqrt_().mean(dim=-1)
