"""One `gda` model over several products against one `mvg` model per product.

`benchmarks/products.py --cache DIR [--sets bottle screw ...]` reads every image once, keeps the
pooled features in DIR, fits both exactly as `anomalib-lite fit` does, and prints image AUROC
and decisions per product, product recognition, and file sizes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite import Detector
from anomalib_lite.backbones import FeatureLayout, Features
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.detector.out_of_fold import calibrate
from anomalib_lite.detector.products import ProductSource
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.sources import FileSource
from anomalib_lite.metrics.image import auroc
from anomalib_lite.scorers import FitContext, FrameBatch, Scorer, create_scorer
from anomalib_lite.scorers.pooling import LayerPool

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = {
    "bottle": "mvtec_ad/bottle",
    "screw": "mvtec_ad/screw",
    "juice_bottle": "mvtec_loco_flat/juice_bottle",
    "hazelnut_toy": "hazelnut_toy",
    "magnetic_tile": "magnetic_tile",
}
BATCH = 64


@dataclass
class Pooled:
    """Pooled features `(n, d)` of one product: good training images, test images, which are bad."""

    train: NDArray[np.float32]
    test: NDArray[np.float32]
    bad: NDArray[np.bool_]


class PooledStream:
    """Stored vectors as a stream of 1x1 maps: pooling them changes nothing."""

    def __init__(
        self,
        layout: FeatureLayout,
        rows: NDArray[np.float32],
        indices: NDArray[np.int64],
        labels: NDArray[np.int64] | None = None,
    ) -> None:
        self.layout, self.rows, self.indices, self.labels = layout, rows, indices, labels

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> PooledStream:
        """Limited to some rows."""
        return PooledStream(self.layout, self.rows, np.sort(np.asarray(indices)), self.labels)

    def __iter__(self) -> Iterator[FrameBatch]:
        for start in range(0, len(self.indices), BATCH):
            chosen = self.indices[start : start + BATCH]
            found = as_features(self.layout, self.rows[chosen])
            frames = torch.zeros(len(chosen), 1, 1, 3, dtype=torch.uint8)
            labels = None if self.labels is None else self.labels[chosen]
            yield FrameBatch(frames, chosen, lambda _, given=found: given, labels=labels)


def as_features(layout: FeatureLayout, rows: NDArray[np.float32]) -> Features:
    """Vectors `(n, d)` as 1x1 maps of the layers."""
    parts = torch.from_numpy(rows).split([layer.channels for layer in layout.layers], dim=1)
    names = [layer.name for layer in layout.layers]
    maps = {name: part[:, :, None, None] for name, part in zip(names, parts, strict=True)}
    return Features(torch.zeros(len(rows), 3, 1, 1), maps)


def pick(paths: list[Path], most: int) -> list[Path]:
    """At most so many paths, drawn by the seed, in order."""
    chosen = np.random.default_rng(0).permutation(len(paths))[:most]
    return [paths[i] for i in sorted(chosen)]


def pooled(name: str, detector: Detector, cache: Path, most: int) -> Pooled:
    """Read a product's images, or what an earlier run kept of them."""
    kept = cache / f"{name}-{most}.npz"
    if not kept.exists():
        root = DATA / SETS[name]
        test = sorted(root.glob("test/*/*"))
        fine = pick([path for path in test if path.parent.name == "good"], most)
        defects = pick([path for path in test if path.parent.name != "good"], most)
        good = pick(sorted((root / "train" / "good").iterdir()), most)
        bad = np.repeat([False, True], [len(fine), len(defects)])
        arrays = {"train": read(good, detector), "test": read(fine + defects, detector), "bad": bad}
        np.savez(kept, **arrays)
    stored = np.load(kept)
    return Pooled(stored["train"], stored["test"], stored["bad"])


def read(paths: list[Path], detector: Detector) -> NDArray[np.float32]:
    """Pooled features of files `(n, d)`."""
    stream = ImageStream(FileSource(paths, name="files"), detector.backbone, detector.spec)
    pool = LayerPool(stream.layout, stream.layout.layers)
    rows: list[Tensor] = [torch.cat(pool(batch.features), dim=1) for batch in stream]
    return torch.cat(rows).numpy()


def decisions(scores: NDArray[np.float32], bad: NDArray[np.bool_], calibration: Calibration) -> str:
    """AUROC, and how many good and bad images are rejected."""
    rejected = scores > calibration.threshold
    return (
        f"{auroc(scores, bad.astype(int)):.3f} | {rejected[~bad].sum()} of {(~bad).sum()}, "
        f"{rejected[bad].sum()} of {bad.sum()}"
    )


def fit(
    scorer: Scorer, layout: FeatureLayout, rows: NDArray[np.float32], products: NDArray | None
) -> Calibration:
    """Fit and calibrate as `Detector.fit` does."""
    scorer.build(layout)
    stream = PooledStream(layout, rows, np.arange(len(rows)), products)
    context = FitContext(seed=0)
    with torch.no_grad():
        return calibrate(
            scorer, stream, context, method="auto", max_false_reject=0.01, labels=products
        )[0]


def compare(data: dict[str, Pooled], layout: FeatureLayout) -> None:
    """Fit both kinds and print a row for each product."""
    names = list(data)
    joint = create_scorer("gda", products=names)
    place = np.repeat(np.arange(len(names)), [len(each.train) for each in data.values()])
    shared = fit(joint, layout, np.concatenate([each.train for each in data.values()]), place)
    print(
        "| product | good + test images | mvg alone: AUROC | rejected good, bad | gda, product "
        "stated: AUROC | rejected good, bad | gda, not stated: AUROC | rejected good, bad "
        f"| recognised good, bad |\n|{'---|' * 9}",
        flush=True,
    )
    for index, (name, each) in enumerate(data.items()):
        alone = create_scorer("mvg")
        own = fit(alone, layout, each.train, None)
        features = as_features(layout, each.test)
        with torch.no_grad():
            by_product = joint(features).extra["product_scores"].numpy()
            scores = alone(features).image.numpy()
        right = by_product.argmin(axis=1) == index
        cells = [
            f"{name} | {len(each.train)} + {len(each.test)}",
            decisions(scores, each.bad, own),
            decisions(by_product[:, index], each.bad, shared.for_group(name)),
            decisions(by_product.min(axis=1), each.bad, shared),
            f"{right[~each.bad].mean():.1%}, {right[each.bad].mean():.1%}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def sizes(names: list[str], backbone: str) -> None:
    """Print the sizes of exported files: they do not depend on the number of images."""
    few = {
        name: [str(p) for p in sorted((DATA / SETS[name] / "train" / "good").iterdir())[:4]]
        for name in names
    }
    one = Detector("mvg", backbone=backbone).fit(few[names[0]])
    all_in_one = Detector("gda", products=names, backbone=backbone).fit(ProductSource(few))
    with tempfile.TemporaryDirectory() as folder:
        single = one.export(Path(folder, "mvg.onnx")).size_bytes / 1e6
        joint = all_in_one.export(Path(folder, "gda.onnx")).size_bytes / 1e6
    total = len(names) * single
    print(
        f"\n{len(names)} mvg files of {single:.1f} MB: {total:.1f} MB; one gda file: {joint:.1f} MB"
    )


def main() -> None:
    """Parse the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="folder for pooled features")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--most", type=int, default=10_000, help="images of each kind, for a trial")
    parser.add_argument("--backbone", default="resnet18")
    asked = parser.parse_args()
    asked.cache.mkdir(parents=True, exist_ok=True)
    detector = Detector("mvg", backbone=asked.backbone)
    data = {name: pooled(name, detector, asked.cache, asked.most) for name in asked.sets}
    compare(data, detector.backbone.layout(detector.spec.size_hw, None))
    sizes(asked.sets, asked.backbone)


if __name__ == "__main__":
    main()
