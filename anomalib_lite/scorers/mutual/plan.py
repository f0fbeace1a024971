"""Who judges whom: every image by all others, or by a part of them that costs less than N squared.

Images are taken in blocks, and a block is judged by whole blocks: large products are quick. In the
part mode the images are shuffled first and every block meets the same number of random others, in
rings, so that judging stays mutual and one product still serves both images. The lowest 30 % of a
random part of the judges estimates the lowest 30 % of all; nothing is preferred, neither the
similar (they may share a defect) nor the central.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 16
"""Images in a block."""


@dataclass(frozen=True, eq=False)
class JudgePlan:
    """Blocks of images and who judges them.

    Attributes:
        order: the images, block after block, `(N,)`.
        judges: for each block the blocks that judge it, ascending, itself included.
    """

    order: NDArray[np.int64]
    judges: tuple[tuple[int, ...], ...]

    def members(self, block: int) -> range:
        """Places of a block's images in `order`."""
        return range(block * BLOCK, min((block + 1) * BLOCK, len(self.order)))

    def width(self, block: int) -> int:
        """Images in the judging blocks, the block's own included."""
        return sum(len(self.members(judge)) for judge in self.judges[block])

    def tiles(self, block: int) -> list[int]:
        """Judging blocks whose products with this one are still to be taken in its turn."""
        return [judge for judge in self.judges[block] if judge >= block]

    def pairs(self, block: int, judge: int) -> int:
        """Pairs of images of two blocks, each once for both."""
        own = len(self.members(block))
        return own * (own - 1) // 2 if judge == block else own * len(self.members(judge))

    @property
    def products(self) -> int:
        """Pairs of images that are multiplied, each once for both."""
        return sum(
            self.pairs(block, judge)
            for block in range(len(self.judges))
            for judge in self.tiles(block)
        )

    @property
    def fewest_judges(self) -> int:
        """Other images that judge an image, at least."""
        return min(self.width(block) for block in range(len(self.judges))) - 1


def plan_judges(images: int, judges: int | None = None, seed: int = 0) -> JudgePlan:
    """Plan for a pool.

    Args:
        images: N, at least 2.
        judges: images that judge each image, about; None takes all others.
        seed: shuffles.
    """
    blocks = -(-images // BLOCK)
    everyone = tuple(range(blocks))
    reach = images if judges is None else -(-max(0, judges + 1 - BLOCK) // (2 * BLOCK))
    if 2 * reach + 1 >= blocks:
        return JudgePlan(np.arange(images), (everyone,) * blocks)
    rng = np.random.default_rng([seed, images])
    order = rng.permutation(images)
    shifts = 1 + rng.permutation((blocks - 1) // 2)[:reach]
    judged = tuple(
        tuple(
            sorted({block, *((block + sign * int(s)) % blocks for s in shifts for sign in (1, -1))})
        )
        for block in everyone
    )
    return JudgePlan(order, judged)
