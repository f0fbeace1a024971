"""What scoring a pool keeps on disk: features, the maxima of the pass at hand, and how far it is.

Nothing here grows in memory with the square of the pool. A folder given by the user makes the work
resumable: whatever was finished is found again, and the result is the same, byte for byte, wherever
the last run ended. Who has given the folder removes it, once the result is safe.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.scorers.mutual.plan import BLOCK, JudgePlan
from anomalib_lite.system.spill import SpillStore, require_room

_STATE = "state.json"
_TOTALS = "totals.safetensors"
_MAXIMA = "maxima"
_SUFFIX = ".f32"
_ADVICE = "name a larger disk (--out, or TMPDIR), a smaller image size, or fewer judges"


class PoolFiles:
    """Files of one pool.

    Args:
        folder: where to keep them; None takes a temporary folder that goes away.
        settings: everything that the result depends on, plain JSON types.
        resume: continue what the folder holds; otherwise it is begun anew.

    Attributes:
        indices: images of the stream whose features are there; None until all are.
        passes: passes that `totals` holds.

    Raises:
        SettingsError: the folder holds a pool of other settings.
        FitError: what it holds is damaged.
    """

    def __init__(self, folder: Path | None, settings: dict[str, Any], *, resume: bool) -> None:
        self._temporary = None
        if folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="anomalib-lite-")
            folder = Path(self._temporary.name)
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.indices: list[int] | None = None
        self.passes = 0
        self._settings = settings
        self._totals: list[Tensor] = []
        self._block = (0, 0)
        self._stores: dict[str, SpillStore] = {}
        self._offsets: NDArray[np.int64] = np.zeros(1, np.int64)
        if not (resume and self._continue()):
            for name in (_STATE, _TOTALS):
                (self.folder / name).unlink(missing_ok=True)

    def __enter__(self) -> PoolFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for store in self._stores.values():
            store.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _continue(self) -> bool:
        """Take up what the folder holds; whether there is anything."""
        try:
            found = json.loads((self.folder / _STATE).read_text())
        except (OSError, ValueError):
            return False
        if found.get("settings") != json.loads(json.dumps(self._settings)):
            raise SettingsError(
                f"{self.folder}: was begun with other images or settings; leave --resume out to "
                "begin anew, or give another --out"
            )
        self.indices = found.get("indices")
        turn, block = found.get("next_block", (0, 0))
        self._block = (turn, block)
        if (self.folder / _TOTALS).exists():
            self.passes, self._totals = _read_totals(self.folder / _TOTALS)
        return True

    def require_room(self, images: int, size: int) -> None:
        """Refuse a pool of so many images that will not fit; raises FitError."""
        require_room(size, self.folder, f"features of {images} images", _ADVICE)

    def store(self, name: str, shape: tuple[int, ...]) -> SpillStore:
        """Float32 rows of this shape, in the file of this name."""
        if name not in self._stores or self._stores[name].shape != shape:
            self._close(name)
            self._stores[name] = SpillStore(
                None,
                shape,
                np.float32,
                what="the pool's features",
                advice=_ADVICE,
                path=self.folder / f"{name}{_SUFFIX}",
            )
        return self._stores[name]

    def discard(self, names: Iterable[str]) -> None:
        """Forget rows, if there are any."""
        for name in names:
            self._close(name)
            (self.folder / f"{name}{_SUFFIX}").unlink(missing_ok=True)

    def finish_reading(self, indices: list[int]) -> None:
        """All features are there, of these images of the stream."""
        self._sync()
        self.indices = indices
        self._save()

    def finish_block(self, turn: int, block: int) -> None:
        """The maxima of a block of a pass are there."""
        self._sync()
        self._block = (turn, block + 1)
        self._save()

    def finish_pass(self, turn: int, totals: list[Tensor]) -> None:
        """Keep the sums over the finished passes, one array a layer, and their number: one write.

        Two writes could be parted by an interruption, and a pass would be added twice.
        """
        self.passes, self._totals = turn + 1, totals
        if self._temporary is None:
            from safetensors.torch import save

            tensors = {str(layer): total for layer, total in enumerate(totals)}
            data = save(tensors, metadata={"passes": str(self.passes)})
            write_bytes_atomic(self.folder / _TOTALS, data)

    def finish(self, needless: Iterable[str]) -> None:
        """All passes are done: give the room of the maxima and of some rows back."""
        self.discard([_MAXIMA, *needless])

    def next_block(self, turn: int) -> int:
        """The first block of a pass that is not there yet."""
        return self._block[1] if self._block[0] == turn else 0

    def totals(self, shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """What `finish_pass` has kept, float64; zeros of these shapes before the first."""
        return self._totals or [torch.zeros(shape, dtype=torch.float64) for shape in shapes]

    def open_maxima(self, plan: JudgePlan, cells: int) -> None:
        """Prepare the file of one pass: for each block `(members, judges)` rows of its cells."""
        blocks = range(len(plan.judges))
        sizes = [len(plan.members(block)) * plan.width(block) for block in blocks]
        self._offsets = np.concatenate([[0], np.cumsum(sizes)])
        self._plan = plan
        self._maxima = self.store(_MAXIMA, (cells,))

    def put(self, block: int, judge: int, maxima: Tensor) -> None:
        """Keep maxima `(members, images of the judging block, cells)` of a block."""
        column = sum(
            len(self._plan.members(other)) for other in self._plan.judges[block] if other < judge
        )
        members, judges, cells = maxima.shape
        places = np.arange(members)[:, None] * self._plan.width(block) + np.arange(judges)
        slots = self._offsets[block] + column + places
        self._maxima.write(slots.ravel(), maxima.reshape(-1, cells).cpu().numpy())

    def take(self, block: int) -> Tensor:
        """Maxima of a block `(members, judges, cells)`, those of an image with itself -inf."""
        members, judges = len(self._plan.members(block)), self._plan.width(block)
        slots = self._offsets[block] + np.arange(members * judges)
        maxima = torch.from_numpy(self._maxima.read(slots)).view(members, judges, -1)
        own = sum(1 for judge in self._plan.judges[block] if judge < block) * BLOCK
        # Blocks before this one are full: only the last block of a pool may be short.
        for member in range(members):
            maxima[member, own + member] = -torch.inf
        return maxima

    def _sync(self) -> None:
        """Nothing may be said to be there that a power cut would take back."""
        if self._temporary is None:
            for store in self._stores.values():
                store.sync()

    def _save(self) -> None:
        if self._temporary is None:
            state = {
                "settings": self._settings,
                "indices": self.indices,
                "next_block": self._block,
            }
            write_bytes_atomic(self.folder / _STATE, json.dumps(state).encode())

    def _close(self, name: str) -> None:
        if name in self._stores:
            self._stores.pop(name).close()


def _read_totals(path: Path) -> tuple[int, list[Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            count = len(file.keys())
            totals = [file.get_tensor(str(layer)).clone() for layer in range(count)]
            return int(file.metadata()["passes"]), totals
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise FitError(
            f"{path}: is damaged ({type(error).__name__}); leave --resume out to begin anew"
        ) from error
