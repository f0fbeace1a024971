"""An engine belongs to one process: forked and unpickled models open their file anew.

An engine's threads do not survive a fork. A child that used it, or merely freed it at its end,
would wait for them for ever.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any
from weakref import WeakSet

from anomalib_lite.edge.engines import Engine, open_engine
from anomalib_lite.edge.errors import ModelFileError
from anomalib_lite.edge.model_files.integrity import damaged, verify_seal


class OwnEngine:
    """Opens a sealed file, and opens it again in a process that was forked since.

    Args:
        path: edge file.
        engine: name of the engine.
        threads: threads inside one inference; None takes what the machine allows.
        options: what else `engines.open_engine` takes.

    Raises:
        ModelFileError: missing, corrupt or foreign file.
    """

    def __init__(self, path: Path, engine: str, *, threads: int | None, **options: Any) -> None:
        self._shown, self._file = path, path.absolute()
        self._kind, self._options = engine, options
        self._sealed = verify_seal(path)
        self._opened = open_engine(path, engine, threads=threads, **options)
        self._inherited = False
        _open_here.add(self)

    @property
    def current(self) -> Engine:
        """The engine of this process.

        Raises:
            ModelFileError: this process was forked, and the file is another one or gone.
        """
        if self._inherited:
            before = self._opened
            verify_seal(self._file)
            opened = open_engine(self._file, self._kind, threads=before.threads, **self._options)
            refuse_replaced(self._shown, opened.metadata, before.metadata)
            self._opened, self._inherited = opened, False
        return self._opened

    def require_seal(self) -> None:
        """Raise `ModelFileError` for a file without its checksum."""
        if not self._sealed:
            raise damaged(self._shown)

    def inherit(self) -> None:
        """In a forked child: the engine is the parent's, to be neither used nor freed."""
        if not self._inherited:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._opened))
            self._inherited = True


def refuse_replaced(path: Path, found: str, expected: str) -> None:
    """Raise `ModelFileError` unless a file opened again carries the description it had."""
    if found != expected:
        raise ModelFileError(
            f"{path}: was replaced since the model was opened; a copy in another process would "
            "judge by another model; open the new file"
        )


_open_here: WeakSet[OwnEngine] = WeakSet()


def _inherit_all() -> None:
    for own in list(_open_here):
        own.inherit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_inherit_all)
