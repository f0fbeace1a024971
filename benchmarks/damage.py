"""Damaged JPEGs: what the checks cost beside decoding, and how much damage they notice.

    python benchmarks/damage.py

Prints the figures that docs/sources.md quotes. CPU time of one thread, so that a busy machine
changes little.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np

from anomalib_lite.data.parts import render
from anomalib_lite.edge import FrameError, decode_frame
from anomalib_lite.edge.pictures import damage
from anomalib_lite.edge.pictures.header import peek_bytes, read_header
from anomalib_lite.edge.pictures.jpeg import read_layout
from anomalib_lite.edge.pictures.jpeg_entropy import follow_codes

SIDE = 1024
TRIES = 200
KINDS = {
    "baseline": (),
    "optimised": (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    "restarts": (cv2.IMWRITE_JPEG_RST_INTERVAL, 8),
    "progressive": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
}


def milliseconds(work: Callable[[], object], repeats: int = 20) -> float:
    """Lower quartile of the CPU time of one call."""
    times = []
    for _ in range(repeats):
        started = time.thread_time()
        work()
        times.append(time.thread_time() - started)
    return 1000 * sorted(times)[len(times) // 4]


def cost() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (64, 64, 3)).astype(np.float32)
    frame = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    frame = np.clip(frame + rng.normal(0, 4, frame.shape), 0, 255).astype(np.uint8)
    for quality in (75, 95):
        data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        decoded, header = decode_frame(data), read_header(peek_bytes(data), "x")
        layout = read_layout(data, "x")
        (scan,) = layout.scans
        whole = milliseconds(lambda data=data: decode_frame(data))
        checks = milliseconds(lambda data=data, header=header: damage.check_file(header, data, "x"))
        checks += milliseconds(
            lambda data=data, header=header, decoded=decoded: damage.check_pixels(
                header, data, decoded, "x"
            )
        )
        walk = milliseconds(
            lambda data=data, layout=layout, scan=scan: follow_codes(data, layout.frame, scan, "x"),
            5,
        )
        print(
            f"quality {quality}: decode {whole:.2f} ms, of which checks {checks:.2f} ms "
            f"({checks / whole:.1%}); following the codes of a suspect {walk:.0f} ms"
        )


def damaged(data: bytes, rng: np.random.Generator) -> dict[str, bytes]:
    """The same file with one damage each, at a random place of its compressed data."""
    first = data.index(b"\xff\xda") + 14
    at = int(rng.integers(first, len(data) - 700))
    size = int(rng.integers(64, 600))
    end = b"\xff\xd9"
    return {
        "cut, end marker kept": data[:at] + end,
        "zeros": data[:at] + bytes(size) + data[at + size :],
        "bytes lost": data[:at] + data[at + size :],
        "bytes overwritten": data[:at] + rng.bytes(size) + data[at + size :],
        "one bit": data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :],
    }


def noticed() -> None:
    rng = np.random.default_rng(1)
    frame = render("flange", seed=0, index=0, size=256).image[:, :, ::-1]
    for kind, options in KINDS.items():
        data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90, *options])[1].tobytes()
        whole = decode_frame(data).astype(int)
        found: Counter[str] = Counter()
        harmful: Counter[str] = Counter()
        for _ in range(TRIES):
            for name, bad in damaged(data, rng).items():
                try:
                    decoded = decode_frame(bad)
                except FrameError:
                    found[name] += 1
                    harmful[name] += 1
                    continue
                harmful[name] += decoded.shape != whole.shape or bool(
                    (np.abs(decoded - whole) > 8).any()
                )
        shares = (f"{name} {found[name] / harmful[name]:.0%}" for name in harmful)
        print(f"{kind}: noticed of what changes a pixel by more than 8: {', '.join(shares)}")


if __name__ == "__main__":
    cv2.setNumThreads(1)
    cost()
    noticed()
