"""Make the small data sets of data/parts again: `python data/generate.py [folder]`.

The result is byte for byte the committed one (see data/README.md for the fine print).
"""

from __future__ import annotations

import sys
from pathlib import Path

from anomalib_lite.data.parts import write_dataset

# `kit` is left out to keep the repository small; write_dataset makes it in two seconds.
PRODUCTS = ("flange", "weave", "tablet")
SEED = 0
COUNTS = {"train": 20, "test_good": 8, "test_per_defect": 4}


def main(root: Path) -> None:
    """Write the data set of each of these products under root."""
    for product in PRODUCTS:
        home = write_dataset(root, product, seed=SEED, **COUNTS)
        files = [path for path in home.rglob("*") if path.is_file()]
        total_kb = sum(path.stat().st_size for path in files) / 1024
        print(f"{home}: {len(files)} files, {total_kb:.0f} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "parts")
