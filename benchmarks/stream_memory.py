"""Memory of a streaming PatchCore fit against the number of frames.

    python benchmarks/stream_memory.py
    python benchmarks/stream_memory.py --frames 2000 --backbone resnet18

Made-up frames (a striped part with its own light, place and noise) stream through a fit with a
budget. Every 500 frames the memory of the process is printed, and in the end its peak over what it
was before the fit, beside the estimate that a fit prints. Needs no images and, with the
default backbone, no weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_lite.backbones import Features, create_backbone
from anomalib_lite.scorers import FitContext, FrameBatch, create_scorer

BATCH = 8


class MadeFrames:
    """A stream of made-up frames, features included, never more than one batch at a time.

    Args:
        backbone: feature extractor.
        frames: how many.
        side: of a frame, pixels.
    """

    def __init__(self, backbone: Any, frames: int, side: int) -> None:
        self.backbone, self.frames, self.side = backbone, frames, side
        self.layout = backbone.layout((side, side), None)
        across = np.linspace(0, 40, side, dtype=np.float32)
        self.part = 90 + 60 * np.sin(across)[None, :, None] + 30 * np.cos(across / 3)[:, None, None]

    def __len__(self) -> int:
        return self.frames

    def frame(self, index: int) -> NDArray[np.uint8]:
        """One frame `(side, side, 3)`."""
        rng = np.random.default_rng(index)
        moved = np.roll(self.part, int(rng.integers(-12, 13)), axis=1) * rng.uniform(0.8, 1.2)
        noise = rng.integers(-12, 13, (self.side, self.side, 3))
        return np.clip(moved + noise, 0, 255).astype(np.uint8)

    def _extract(self, frames: torch.Tensor) -> Features:
        found: Features = self.backbone(self.backbone.normalise(frames))
        return found

    def __iter__(self) -> Iterator[FrameBatch]:
        for start in range(0, self.frames, BATCH):
            index = np.arange(start, min(start + BATCH, self.frames))
            frames = torch.from_numpy(np.stack([self.frame(int(number)) for number in index]))
            yield FrameBatch(frames, index, self._extract)


def memory_mb(kind: str) -> float:
    """`VmRSS` (now) or `VmHWM` (peak) of this process, MB of 10^6 bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("needs /proc/self/status (Linux)")


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--buffer-megabytes", type=float, default=16.0)
    parser.add_argument("--backbone", default="filters")
    options = parser.parse_args()

    torch.set_grad_enabled(False)
    backbone = create_backbone(options.backbone, input_hw=(options.side, options.side))
    stream = MadeFrames(backbone, options.frames, options.side)
    scorer = create_scorer(
        "patchcore", rows=options.rows, buffer_megabytes=options.buffer_megabytes
    )
    scorer.build(stream.layout)
    next(iter(stream))  # what one batch of features takes is not the fit's
    before = memory_mb("VmRSS")
    start = time.perf_counter()
    told = 0
    print("| frames | memory, MB | seconds |\n|---|---|---|", flush=True)

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal told
        if stage.startswith("reading") and done >= told + options.every:
            told = done
            seconds = time.perf_counter() - start
            print(f"| {done} | {memory_mb('VmRSS'):.0f} | {seconds:.0f} |", flush=True)

    scorer.fit(stream, FitContext(progress=progress))  # type: ignore[arg-type]
    print(
        f"\n{len(scorer.bank_)} patches of {options.frames} frames; before the fit {before:.0f} MB"
    )
    peak, estimate = memory_mb("VmHWM"), scorer.memory_bytes() / 1e6
    print(f"peak {peak:.0f} MB; estimate of what the fit adds {estimate:.0f} MB")


if __name__ == "__main__":
    main()
