"""Locks that a process holds while it lives; the system frees those of killed ones."""

from __future__ import annotations

import errno
import os
from importlib import import_module
from typing import Any

# Windows has none; there, files that are open cannot be replaced, which is lock enough.
_fcntl: Any = import_module("fcntl") if os.name == "posix" else None
_HELD = (errno.EACCES, errno.EAGAIN)


def try_lock(handle: int) -> bool:
    """Lock an open file until it is closed; False when somebody else has locked it.

    Where the file system knows no locks, nothing is locked and the answer is True.
    """
    if _fcntl is None:
        return True
    try:
        _fcntl.flock(handle, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _HELD
    return True


def is_same_file(handle: int, path: str | os.PathLike[str]) -> bool:
    """Whether an open file still has that name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False
