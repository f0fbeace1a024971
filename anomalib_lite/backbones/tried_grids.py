"""How many cells a network gives at an input size: some pad what fills no cell, others drop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from anomalib_lite.backbones.timm_layers import cells
from anomalib_lite.edge.errors import SettingsError

Grids = Mapping[str, tuple[int, int]]
_SMALL = 4  # cells per side of the coarsest layer on a picture that is tried


class TriedGrids:
    """Cells of each map by name, looked up on an empty frame where the strides do not tell.

    Args:
        strides: pixels of a cell by layer name.
        fixed_hw: the only size that the network takes; None where it takes many.
    """

    def __init__(self, strides: Mapping[str, int], fixed_hw: tuple[int, int] | None) -> None:
        self._strides = dict(strides)
        self._fixed_hw = fixed_hw
        self._seen: dict[tuple[int, int], Grids] = {}

    def at(
        self, input_hw: tuple[int, int], run: Callable[[tuple[int, int]], Mapping[str, Tensor]]
    ) -> Grids:
        """Cells `(h, w)` of each map.

        Args:
            input_hw: size of the frame, pixels.
            run: maps of an empty frame.

        Raises:
            SettingsError: the network cannot take pictures of this size.
        """
        usual = {name: cells(input_hw, stride) for name, stride in self._strides.items()}
        exact = not any(side % stride for side in input_hw for stride in self._strides.values())
        if self._fixed_hw is not None:
            return usual if exact or input_hw != self._fixed_hw else self._look(input_hw, run)
        return usual if exact and self._fills(run) else self._look(input_hw, run)

    def _fills(self, run: Callable[[tuple[int, int]], Mapping[str, Tensor]]) -> bool:
        """Whether a small picture that the strides divide gives as many cells as they say."""
        side = _SMALL * max(self._strides.values(), default=1)
        try:
            found = self._look((side, side), run)
        except SettingsError:
            return False
        return all(
            found[name] == cells((side, side), stride) for name, stride in self._strides.items()
        )

    def _look(
        self, input_hw: tuple[int, int], run: Callable[[tuple[int, int]], Mapping[str, Tensor]]
    ) -> Grids:
        if input_hw not in self._seen:
            maps = run(input_hw)
            self._seen[input_hw] = {
                name: (maps[name].shape[2], maps[name].shape[3]) for name in self._strides
            }
        return self._seen[input_hw]
