"""How many threads torch may use: for the whole process, or for a piece of work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from anomalib_lite.edge import cpu


def use_threads(threads: int | None) -> int:
    """Set the threads of torch, OpenCV and engines opened from now on; returns the number.

    Args:
        threads: None takes what the machine allows (cores, CPU quota, `OMP_NUM_THREADS`), and
            leaves torch at fewer where it was told so.

    Raises:
        SettingsError: not a whole number from 1.
    """
    wanted = cpu.use_threads(threads)
    if threads is not None or torch.get_num_threads() > wanted:
        torch.set_num_threads(wanted)
    return wanted


@contextmanager
def one_thread() -> Iterator[None]:
    """Many small products: more threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
