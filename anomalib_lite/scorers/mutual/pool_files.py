"""What scoring a pool keeps on disk: features, the maxima of the pass at hand, and how far it is.

Nothing here grows in memory with the square of the pool. A folder given by the user makes the work
resumable: whatever was finished is found again, and the result is the same, byte for byte. Who has
given it removes it, once the result is safe.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
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

_STATE = "state.json"
_MAXIMA = "maxima.f32"
_TOTALS = "totals"


class PoolFiles:
    """Files of one pool.

    Args:
        folder: where to keep them; None takes a temporary folder that goes away.
        settings: everything that the result depends on, plain JSON types.
        resume: continue what the folder holds; otherwise it is begun anew.

    Attributes:
        state: JSON: `indices` of the usable images once all features are there, `passes` done, and
            `block`, the next block of the pass at hand.

    Raises:
        SettingsError: the folder holds a pool of other settings.
        FitError: the disk is full.
    """

    def __init__(self, folder: Path | None, settings: dict[str, Any], *, resume: bool) -> None:
        self._temporary = None
        if folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="anomalib-lite-")
            folder = Path(self._temporary.name)
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state: dict[str, Any] = {"settings": settings}
        if resume:
            self._continue(settings)
        else:
            (self.folder / _STATE).unlink(missing_ok=True)
        self._maxima: Any = None
        self._offsets: NDArray[np.int64] = np.zeros(1, np.int64)

    def __enter__(self) -> PoolFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._maxima is not None:
            self._maxima.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _continue(self, settings: dict[str, Any]) -> None:
        try:
            found = json.loads((self.folder / _STATE).read_text())
        except (OSError, ValueError):
            return
        if found.get("settings") != json.loads(json.dumps(settings)):
            raise SettingsError(
                f"{self.folder}: was begun with other images or settings; leave --resume out to "
                "begin anew, or give another --out"
            )
        self.state = found

    def save(self, **facts: Any) -> None:
        """Note how far the work is, atomically."""
        self.state.update(facts)
        write_bytes_atomic(self.folder / _STATE, json.dumps(self.state).encode())

    def append(self, name: str, rows: Tensor) -> None:
        """Append rows of float32 numbers, one an image."""
        try:
            with (self.folder / f"{name}.f32").open("ab") as file:
                file.write(rows.contiguous().numpy().tobytes())
        except OSError as error:
            raise _full(self.folder, error) from error

    def discard(self, name: str) -> None:
        """Forget rows, if there are any."""
        (self.folder / f"{name}.f32").unlink(missing_ok=True)

    def finish(self, needless: Iterable[str]) -> None:
        """All passes are done: give the room of the maxima and of some rows back."""
        if self._maxima is not None:
            self._maxima.close()
            self._maxima = None
        (self.folder / _MAXIMA).unlink(missing_ok=True)
        for name in needless:
            self.discard(name)

    def rows(self, name: str, numbers: int, chosen: Iterable[int]) -> NDArray[np.float32]:
        """Some rows of a file, `(n, numbers)`; read, not mapped, so that memory stays free."""
        found = []
        with (self.folder / f"{name}.f32").open("rb") as file:
            for row in chosen:
                file.seek(4 * numbers * int(row))
                found.append(np.frombuffer(file.read(4 * numbers), np.float32))
        return np.stack(found)

    def save_totals(self, totals: list[Tensor]) -> None:
        """Sums over the finished passes, one array a layer."""
        path = self.folder / f"{_TOTALS}.npy"
        flat = np.concatenate([total.numpy().ravel() for total in totals])
        write_bytes_atomic(path, flat.tobytes())

    def load_totals(self, shapes: list[tuple[int, int]]) -> list[Tensor]:
        """What `save_totals` has kept; zeros before the first."""
        path = self.folder / f"{_TOTALS}.npy"
        if not self.state.get("passes"):
            return [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
        flat = torch.from_numpy(np.frombuffer(path.read_bytes(), np.float64).copy())
        parts = flat.split([rows * columns for rows, columns in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def open_maxima(self, plan: JudgePlan, cells: int) -> None:
        """Prepare the file of one pass: for each block `(members, judges, cells)` in a row."""
        sizes = [
            len(plan.members(block)) * plan.width(block) * cells
            for block in range(len(plan.judges))
        ]
        self._offsets = np.concatenate([[0], np.cumsum(sizes)]) * 4
        self._plan, self._cells = plan, cells
        path = self.folder / _MAXIMA
        if self._maxima is not None:
            self._maxima.close()
        self._maxima = path.open("r+b" if path.exists() else "w+b")

    def put(self, block: int, judge: int, maxima: Tensor) -> None:
        """Keep maxima `(members, images of the judging block, cells)` of a block."""
        column = sum(
            len(self._plan.members(other)) for other in self._plan.judges[block] if other < judge
        )
        width = self._plan.width(block)
        try:
            for member, rows in enumerate(maxima.numpy()):
                place = (member * width + column) * self._cells * 4
                self._maxima.seek(int(self._offsets[block]) + place)
                self._maxima.write(rows.tobytes())
        except OSError as error:
            raise _full(self.folder, error) from error

    def flush(self) -> None:
        """Bring everything that was put to the file."""
        self._maxima.flush()

    def take(self, block: int) -> Tensor:
        """Maxima of a block `(members, judges, cells)`, those of an image with itself -inf."""
        shape = (len(self._plan.members(block)), self._plan.width(block), self._cells)
        self._maxima.seek(int(self._offsets[block]))
        data = bytearray(self._maxima.read(4 * int(np.prod(shape))))
        maxima = torch.frombuffer(data, dtype=torch.float32).view(shape)
        own = sum(1 for judge in self._plan.judges[block] if judge < block) * BLOCK
        # Blocks before this one are full: only the last block of a pool may be short.
        for member in range(shape[0]):
            maxima[member, own + member] = -torch.inf
        return maxima


def _full(folder: Path, error: OSError) -> FitError:
    return FitError(
        f"cannot keep the pool's features in {folder}: {error.strerror}; name a larger disk "
        "(--out, or TMPDIR), a smaller image size, or fewer judges"
    )
