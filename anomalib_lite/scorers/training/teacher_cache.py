"""What a frozen teacher says of each image: computed once, kept while there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from anomalib_lite.backbones import Backbone
from anomalib_lite.backbones.base import require_finite

TEACHER_CACHE_BYTES = 512 << 20

Answer = Callable[[Tensor], dict[str, Tensor]]


class TeacherCache:
    """Answers of a teacher by image, up to 512 MB; what does not fit is computed each time.

    Each image goes through the teacher alone, so a kept answer has the bits of a new one.

    Args:
        teacher: on the device of the pixels that it will be given.
        answer: pixels -> what is asked of the teacher, by name; None takes its maps.
    """

    def __init__(self, teacher: Backbone, answer: Answer | None = None) -> None:
        self._teacher = teacher
        self._answer: Answer = answer or (lambda pixels: teacher(pixels).maps)
        self._kept: dict[int, dict[str, Tensor]] = {}
        self._bytes = 0

    def maps(self, index: int, pixels: Tensor) -> dict[str, Tensor]:
        """Maps by layer of the image `index`, whose pixels are `(1, 3, H, W)`.

        An index may as well stand for a batch that is always the same.

        Raises:
            FitError: they are not finite.
        """
        found = self._kept.get(index)
        if found is None:
            with torch.no_grad():
                found = self._answer(pixels)
            require_finite(found, self._teacher)
            size = sum(values.nbytes for values in found.values())
            if self._bytes + size <= TEACHER_CACHE_BYTES:
                self._kept[index] = found
                self._bytes += size
        return found

    def batch(self, indices: Sequence[int], pixels: Tensor) -> dict[str, Tensor]:
        """The same for several images, `(N, C, h, w)` by layer."""
        each = [self.maps(index, one[None]) for index, one in zip(indices, pixels, strict=True)]
        return {name: torch.cat([maps[name] for maps in each]) for name in each[0]}

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self._bytes = 0
