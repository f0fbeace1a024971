"""How long simulating takes, beside decoding the same pictures.

    python benchmarks/simulate.py [--images 1000] [--size 256]

Good pictures of the generated parts are written as PNG and JPEG, then decoded, and given one defect
each: DRAEM's Perlin textures in batches of 8, and every family in turn. Decoding and simulating
take turns in blocks, so that a busy machine slows both; the figures are CPU seconds of one thread
and their ratio. Preparing 64 procedural textures, once a run, is shown apart.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from anomalib_lite.data.parts import render
from anomalib_lite.data.simulate import (
    FAMILIES,
    DefectRequest,
    find_part,
    paste_textures,
    procedural_textures,
    put_defect,
)
from anomalib_lite.edge.frames import read_frame

BLOCK = 40
PRODUCTS = ("flange", "tablet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    size_hw = (options.size, options.size)
    started = time.process_time()
    bank = procedural_textures(size_hw)
    for index in range(bank.count):
        bank.texture(index)
    print(f"{bank.count} procedural textures, once: {time.process_time() - started:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        paths = _pictures(Path(folder), options.size)
        seconds = {"decode png": 0.0, "decode jpg": 0.0, "perlin": 0.0, "families": 0.0}
        rng = np.random.default_rng(0)
        kinds = list(FAMILIES)
        for first in range(0, options.images, BLOCK):
            numbers = range(first, min(first + BLOCK, options.images))
            frames = []
            for suffix in ("png", "jpg"):
                started = time.process_time()
                chosen = [paths[number % len(paths)] for number in numbers]
                frames = [read_frame(path.with_suffix(f".{suffix}")) for path in chosen]
                seconds[f"decode {suffix}"] += time.process_time() - started
            started = time.process_time()
            for batch in range(0, len(frames), 8):
                paste_textures(rng, np.stack(frames[batch : batch + 8]), bank)
            seconds["perlin"] += time.process_time() - started
            started = time.process_time()
            for number, frame in zip(numbers, frames, strict=True):
                kind = kinds[number % len(kinds)]
                request = DefectRequest(kind=kind, size=float(rng.uniform(5, 30)), contrast=40.0)
                put_defect(frame, request, rng, part=find_part(frame), textures=bank)
            seconds["families"] += time.process_time() - started
    for name, value in seconds.items():
        ratios = ", ".join(
            f"{value / seconds[f'decode {suffix}']:.2f} x decoding {suffix.upper()}"
            for suffix in ("png", "jpg")
        )
        print(f"{name:12} {value:6.2f} s for {options.images} images; {ratios}")


def _pictures(folder: Path, size: int) -> list[Path]:
    paths = []
    for index in range(10):
        for product in PRODUCTS:
            image = render(product, seed=0, index=index, size=size).image[:, :, ::-1]
            path = folder / f"{product}{index}.png"
            cv2.imwrite(str(path), image)
            cv2.imwrite(str(path.with_suffix(".jpg")), image)
            paths.append(path)
    return paths


if __name__ == "__main__":
    main()
