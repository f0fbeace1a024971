"""How this process holds memory: small at the edge, quick in a fit.

Loading a session parses the whole file and copies its tensors. With glibc's defaults the freed
copies stay with the process, and ONNX Runtime's arena doubles itself when it grows; both together
cost about 30 MB on a 50 MB model (measured by `benchmarks/bars.py --only edge-file`). Neither
setting changes any result.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import cv2

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LOADING_BYTES = 128 << 10
_RUNNING_BYTES = 32 << 20
_FITTING_BYTES = 1 << 30

_own = False


def own_process() -> None:
    """Say that this process does nothing but this package's work, as the command line does.

    Only then are its heap's thresholds set and OpenCV's messages silenced (a broken picture is
    reported once, as a `FrameError`). Both hold for the whole process, so a program that has other
    work decides for itself. No result depends on it.
    """
    global _own
    _own = True
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@contextmanager
def returned_after_use() -> Iterator[None]:
    """What is freed within it is returned to the system.

    For loading. In a process of our own large allocations are mapped one by one; afterwards the
    heap keeps up to 32 MB for re-use, as glibc's own adaptation would, because mapping anew costs
    2 ms in every inference. Elsewhere the heap is trimmed once. Nothing where there is no glibc.
    """
    if _own:
        with _thresholds(_LOADING_BYTES):
            yield
        return
    yield
    _trim()


@contextmanager
def kept_for_reuse() -> Iterator[None]:
    """Within it, freed memory of a process of our own is used again; afterwards it is returned.

    For fitting: activations of tens of megabytes come and go with every batch, and mapping them
    anew each time costs a fifth of a fit (docs/benchmarks.md). Nothing elsewhere.
    """
    if not _own:
        yield
        return
    with _thresholds(_FITTING_BYTES):
        yield
    _trim()


def _trim() -> None:
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


@contextmanager
def _thresholds(bytes_: int) -> Iterator[None]:
    libc = _libc()
    if libc is None:
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, bytes_)
    libc.mallopt(_M_TRIM_THRESHOLD, bytes_)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_THRESHOLD, _RUNNING_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _RUNNING_BYTES)


@cache
def shared_allocator(onnxruntime: Any) -> bool:
    """Register, once a process, a CPU arena that grows by what is asked; False if it cannot be."""
    try:
        info = onnxruntime.OrtMemoryInfo(
            "Cpu",
            onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
            0,
            onnxruntime.OrtMemType.DEFAULT,
        )
        as_requested = {
            "max_mem": 0,
            "arena_extend_strategy": 1,
            "initial_chunk_size_bytes": 1 << 16,
            "max_dead_bytes_per_chunk": 1 << 16,
        }
        onnxruntime.create_and_register_allocator(info, onnxruntime.OrtArenaCfg(as_requested))
    except (RuntimeError, AttributeError, ValueError):
        return False
    return True


@cache
def _libc() -> Any:
    """The C library when it is glibc, else None."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL(None)
        _ = libc.mallopt, libc.malloc_trim, libc.gnu_get_libc_version
    except (OSError, AttributeError):
        return None
    return libc
