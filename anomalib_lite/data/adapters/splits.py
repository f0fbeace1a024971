"""Splits for data sets that come without one: by a hash of the path, the same on every machine."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from anomalib_lite.data.sample import Split

TRAIN_SHARE = 0.8
"""Share of the good images that go to training; every defective image goes to the test."""


def path_fraction(relative: str) -> float:
    """A number in [0, 1) that depends on a relative path only, not on content or neighbours.

    The path is taken with forward slashes and composed Unicode (NFC), so that Windows, Linux and
    macOS agree.
    """
    name = unicodedata.normalize("NFC", relative.replace("\\", "/"))
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def split_good(groups: Iterable[str], train_share: float = TRAIN_SHARE) -> dict[str, Split]:
    """Assign each group (one image, or all images of one part) to `"train"` or `"test"`.

    A group is in training when its `path_fraction` is below `train_share`, so adding images never
    moves others across. Only if that leaves a side empty, the group nearest the border changes; a
    single group trains.
    """
    ranked = sorted(set(groups), key=lambda group: (path_fraction(group), group))
    count = sum(path_fraction(group) < train_share for group in ranked)
    count = min(max(count, 1), max(len(ranked) - 1, 1))
    return {group: "train" if i < count else "test" for i, group in enumerate(ranked)}


def relative_names(root: Path, images: Sequence[Path]) -> list[str]:
    """Paths below `root` with forward slashes, as the split hashes them."""
    return [image.relative_to(root).as_posix() for image in images]
