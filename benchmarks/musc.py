"""Measure MuSc: accuracy with ablations, cost, fewer judges, int8, the frozen pool, and its limits.

    python benchmarks/musc.py
    python benchmarks/musc.py --only accuracy --sets hazelnut_toy
    python benchmarks/musc.py --only cost --plot docs/methods/musc_cost.svg
    python benchmarks/musc.py --only large --images 2000 --work /tmp/musc-large

Pools are test folders, as in the paper; labels only measure. vit_tiny_patch16_224 at 224 x 224,
blocks 3, 6, 9, 12, maps and masks at 224 x 224. Seconds are seconds of the processor on one thread,
which other work on the machine disturbs less. Needs the images and weights of ../shared (or --data
and --weights). Nothing is tuned on these test images.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from musc_large import measure_large
from musc_plot import write_plot
from real_sets import SETS, SHARED, ground_truth

SIDE = 224
VIT = "vit_tiny_patch16_224"
BLOCKS = ("blocks.2", "blocks.5", "blocks.8", "blocks.11", "class_token")
CASES: dict[str, dict[str, Any]] = {
    "all three": {},
    "without LNAMD (r = 1)": {"degrees": [1]},
    "without MSM (mean of all)": {"interval": 1.0},
}
BACKBONES: dict[str, tuple[str, tuple[str, ...]]] = {
    "blocks 3 6 9 12": (VIT, BLOCKS),
    "blocks 3 6": (VIT, ("blocks.2", "blocks.5", "class_token")),
    "blocks 9 12": (VIT, ("blocks.8", "blocks.11", "class_token")),
    "resnet18 layer2 layer3": ("resnet18", ("layer2", "layer3")),
    "resnet18 layer2": ("resnet18", ("layer2",)),
    "resnet18 layer3": ("resnet18", ("layer3",)),
}
TURNS = 8
DRAWS = 3


def given_batch(features: Any, indices: Any) -> Any:
    """A batch whose features are known already; its frames are empty."""
    import torch

    from anomalib_lite.scorers import FrameBatch

    frames = torch.zeros(len(indices), 0, 0, 3, dtype=torch.uint8)
    return FrameBatch(frames, indices, lambda _: features)


class Held:
    """A stream read once and held in memory without its pixels.

    `take` narrows it and numbers its images anew.
    """

    def __init__(self, stream: Any) -> None:
        from anomalib_lite.backbones import Features

        self.layout, self.backbone = stream.layout, stream.backbone
        self.batches = []
        for batch in stream:
            corner = batch.features.pixels[:, :, :1, :1].clone()
            held = Features(corner, batch.features.maps)
            self.batches.append(given_batch(held, batch.indices))

    def __len__(self) -> int:
        return sum(len(batch.indices) for batch in self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def take(self, chosen: Sequence[int]) -> Held:
        """The images at these places, in this order."""
        from anomalib_lite.backbones import Features

        rows = [
            (batch.features, row) for batch in self.batches for row in range(len(batch.indices))
        ]
        taken = object.__new__(Held)
        taken.layout, taken.backbone, taken.batches = self.layout, self.backbone, []
        for position, place in enumerate(chosen):
            features, row = rows[place]
            maps = {name: item[row : row + 1] for name, item in features.maps.items()}
            one = Features(features.pixels[row : row + 1], maps)
            taken.batches.append(given_batch(one, np.array([position])))
        return taken


def test_images(folder: Path) -> tuple[list[Path], Any]:
    """Test images of a set and whether each is anomalous."""
    paths = sorted(path for path in (folder / "test").glob("*/*") if path.is_file())
    return paths, np.array([path.parent.name != "good" for path in paths])


def read(paths: list[Path], backbone: str = VIT, layers: tuple[str, ...] = BLOCKS) -> Held:
    """Features of some images."""
    from anomalib_lite.backbones import create_backbone
    from anomalib_lite.detector.image_stream import ImageStream
    from anomalib_lite.edge.prepare import InputSpec
    from anomalib_lite.edge.sources import open_source

    spec = InputSpec(height=SIDE, width=SIDE)
    network = create_backbone(backbone, layers=layers, input_hw=spec.size_hw)
    return Held(ImageStream(open_source([str(path) for path in paths]), network, spec))


def score(stream: Any, **settings: Any) -> Any:
    """`PoolScores` of a held pool, with the paper's RsCIN unless told otherwise."""
    from anomalib_lite.scorers import FitContext, create_scorer

    scorer: Any = create_scorer("musc", **{"rscin": [1, 2, 3], **settings})
    scorer.build(stream.layout)
    return scorer.score_pool(stream, FitContext())


def image_auroc(scores: Any, labels: Any) -> float:
    """Image AUROC."""
    from anomalib_lite.metrics import auroc

    return float(auroc(scores, labels))


def accuracy(options: argparse.Namespace) -> None:
    """Image AUROC, pixel AUROC and AUPRO of the method and its ablations on every set."""
    print("| set | images | case | image AUROC | without RsCIN | pixel AUROC | AUPRO |")
    print("|---|---|---|---|---|---|---|")
    for name in options.sets:
        paths, labels = test_images(options.data / name)
        stream = read(paths)
        masks = np.stack([ground_truth(options.data / name, path, SIDE) for path in paths])
        for case, settings in CASES.items():
            found = score(stream, products=options.products, **settings)
            raw = image_auroc(found.parts["raw"], labels)
            figures = f"{image_auroc(found.image, labels):.4f} | {raw:.4f} | {_maps(found, masks)}"
            print(f"| {Path(name).name} | {len(paths)} | {case} | {figures} |", flush=True)


def _maps(found: Any, masks: Any) -> str:
    from anomalib_lite.metrics import aupro, pixel_metrics

    maps = np.stack([found.network_map(row) for row in range(len(masks))])
    return f"{pixel_metrics(maps, masks).auroc:.4f} | {aupro(maps, masks):.4f}"


def rscin(options: argparse.Namespace) -> None:
    """RsCIN, the paper's and gentler, against the largest of the map; how sure a gain is.

    The interval holds 95 % of the differences when good and defective images are drawn again.
    """
    from anomalib_lite.scorers.mutual.rscin import smooth_scores

    print("| set | good / defective | without | [1, 2] | [1, 2, 3] | gain of [1, 2, 3], 95 % |")
    print("|---|---|---|---|---|---|")
    for name in options.sets:
        paths, labels = test_images(options.data / name)
        found = score(read(paths), products=options.products, rscin=[])
        ways = [found.image.astype(np.float64)]
        ways += [smooth_scores(ways[0], found.embeddings, few) for few in ([1, 2], [1, 2, 3])]
        rng, gains = np.random.default_rng(0), []
        for _ in range(1000):
            drawn = np.concatenate(
                [rng.choice(np.flatnonzero(labels == bad), (labels == bad).sum()) for bad in (0, 1)]
            )
            first, last = (image_auroc(ways[place][drawn], labels[drawn]) for place in (0, -1))
            gains.append(last - first)
        figures = " | ".join(f"{image_auroc(way, labels):.4f}" for way in ways)
        low, high = np.quantile(gains, [0.025, 0.975])
        counts = f"{int((~labels).sum())} / {int(labels.sum())}"
        print(
            f"| {Path(name).name} | {counts} | {figures} | {low:+.3f} to {high:+.3f} |", flush=True
        )


def backbones(options: argparse.Namespace) -> None:
    """Image AUROC with other layers: what helps parts that lie freely."""
    print("| set | layers | image AUROC | without RsCIN |\n|---|---|---|---|")
    for name in options.sets:
        paths, labels = test_images(options.data / name)
        for case in options.layers:
            backbone, layers = BACKBONES[case]
            found = score(read(paths, backbone, layers), products=options.products)
            raw = image_auroc(found.parts["raw"], labels)
            figures = f"{image_auroc(found.image, labels):.4f} | {raw:.4f}"
            print(f"| {Path(name).name} | {case} | {figures} |", flush=True)


def turning(options: argparse.Namespace) -> None:
    """Screw: the other images also judge in turned copies; the nearest of all copies counts."""
    import torch

    from anomalib_lite.scorers.mutual.matmul import (
        both_maxima,
        interval_mean,
        kept_judges,
        make_factors,
    )
    from anomalib_lite.scorers.mutual.tokens import normalise_maps, unit_tokens

    paths, labels = test_images(options.data / "mvtec_ad/screw")
    for case in options.layers:
        turned = _turned_maps(paths, *BACKBONES[case])
        for copies in (1, 4, TURNS):
            total = 0.0
            for maps in turned:
                chosen = maps[:: TURNS // copies]
                for degree in (1, 3, 5):
                    tokens = [unit_tokens(normalise_maps(item), degree) for item in chosen]
                    best = torch.full((len(paths), len(paths), tokens[0].shape[1]), -1.0)
                    for copy in tokens:
                        factors = make_factors(tokens[0]), make_factors(copy)
                        best = torch.maximum(best, both_maxima(*factors)[0])
                    best[torch.arange(len(paths)), torch.arange(len(paths))] = -torch.inf
                    kept = kept_judges(len(paths) - 1, 0.3)
                    total = total + interval_mean(best.transpose(1, 2).contiguous(), kept)
            figure = image_auroc(total.amax(dim=1).numpy(), labels)  # type: ignore[attr-defined]
            print(f"screw, {case}, {copies} copies of each judge: {figure:.4f}", flush=True)


def _turned_maps(paths: list[Path], backbone: str, layers: tuple[str, ...]) -> list[list[Any]]:
    """For each layer the maps of all images, turned by each of `TURNS` angles."""
    import cv2
    import torch

    from anomalib_lite.backbones import create_backbone
    from anomalib_lite.edge.frames import read_frame
    from anomalib_lite.edge.prepare import InputSpec, prepare

    spec = InputSpec(height=SIDE, width=SIDE)
    names = [layer for layer in layers if layer != "class_token"]
    network = create_backbone(backbone, layers=names, input_hw=spec.size_hw)
    frames = [prepare(read_frame(path), spec) for path in paths]
    turned: list[list[Any]] = [[] for _ in names]
    for turn in range(TURNS):
        centre = ((SIDE - 1) / 2, (SIDE - 1) / 2)
        matrix = cv2.getRotationMatrix2D(centre, 360 * turn / TURNS, 1.0)
        copies = [
            cv2.warpAffine(f, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE) for f in frames
        ]
        parts: list[list[Any]] = [[] for _ in names]
        for start in range(0, len(copies), 16):
            batch = torch.from_numpy(np.stack(copies[start : start + 16]))
            with torch.no_grad():
                maps = network(network.normalise(batch)).maps
            for part, name in zip(parts, names, strict=True):
                part.append(maps[name])
        for layer_turns, part in zip(turned, parts, strict=True):
            layer_turns.append(torch.cat(part))
    return turned


def speed(options: argparse.Namespace) -> None:
    """One pass over the screw pool against the plain form, `torch.cdist` in chunks."""
    import torch

    from anomalib_lite.scorers.mutual.matmul import both_maxima, make_factors
    from anomalib_lite.scorers.mutual.plan import BLOCK
    from anomalib_lite.scorers.mutual.tokens import normalise_maps, unit_tokens

    torch.set_num_threads(1)
    paths, _ = test_images(options.data / "mvtec_ad/screw")
    maps = torch.cat([b.features.maps["blocks.8"] for b in read(paths, layers=("blocks.8",))])
    tokens = unit_tokens(normalise_maps(maps), 3)
    images, cells, width = tokens.shape
    flat, some = tokens.reshape(-1, width), 4
    plain = {
        "an image against all rows, as the authors": lambda i: (
            torch.cdist(tokens[i], flat).view(cells, images, cells).amin(dim=2)
        ),
        "an image against a batch of images": lambda i: torch.cdist(tokens[i][None], tokens).amin(
            dim=2
        ),
    }
    ratios: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.repeats):
        ours = {}
        for products in ("float32", "int16", "int8"):
            start = time.process_time()
            factors = make_factors(tokens, products)  # type: ignore[arg-type]
            blocks = [factors._replace(rows=part) for part in factors.rows.split(BLOCK)]
            for position, left in enumerate(blocks):
                for right in blocks[position:]:
                    both_maxima(left, right)
            ours[products] = (time.process_time() - start) / images
        for form, nearest in plain.items():
            start = time.process_time()
            for i in range(some):
                nearest(i)
            took = (time.process_time() - start) / some
            for products, own in ours.items():
                ratios.setdefault((form, products), []).append(took / own)
            shown = ", ".join(f"{name} {1e3 * own:.1f}" for name, own in ours.items())
            print(f"ms per image: {form} {1e3 * took:.1f}; ours {shown}", flush=True)
    for (form, products), values in ratios.items():
        print(f"{form}: {products} {np.median(values):.1f} times quicker at {images} images")
    start = time.process_time()
    score(read(paths), rscin=[])
    whole = (time.process_time() - start) / len(paths)
    print(f"whole method with reading and backbone: {1e3 * whole:.0f} ms per image", flush=True)


def _tile_pool(options: argparse.Namespace, images: int) -> tuple[list[Path], Any]:
    """Magnetic tile: test images and good training images together, drawn by a seed."""
    folder = options.data / "magnetic_tile"
    paths, labels = test_images(folder)
    good = sorted((folder / "train/good").iterdir())
    everything = [*paths, *good]
    truth = np.concatenate([labels, np.zeros(len(good), bool)])
    chosen = np.sort(np.random.default_rng(0).permutation(len(everything))[:images])
    return [everything[place] for place in chosen], truth[chosen]


def cost(options: argparse.Namespace) -> None:
    """Seconds, products and memory against the number of images, one layer and degree; a plot."""
    from anomalib_lite.scorers import create_scorer

    paths, _ = _tile_pool(options, 800)
    stream = read(paths, layers=("blocks.8",))
    print("| images | judges | products | CPU seconds a pass | memory, MB | disk, MB |")
    print("|---|---|---|---|---|---|")
    lines: dict[str, list[tuple[int, float]]] = {}
    for judges in (None, 100):
        for images in (25, 50, 100, 200, 400, 800):
            part = stream.take(range(images))
            scorer: Any = create_scorer("musc", judges=judges)
            scorer.build(part.layout)
            memory, disk = scorer.pool_bytes(images)
            start = time.process_time()
            found = score(part, degrees=[3], judges=judges, rscin=[])
            took = time.process_time() - start
            sizes = f"{memory / 1e6:.0f} | {disk / 1e6:.0f}"
            shown = f"{found.judges} | {found.products} | {took:.1f} | {sizes}"
            print(f"| {images} | {shown} |", flush=True)
            case = "all judge" if judges is None else f"judges={judges}"
            lines.setdefault(case, []).append((images, took))
    if options.plot is not None:
        write_plot(options.plot, lines)
        print(f"{options.plot} drawn", flush=True)


def judges(options: argparse.Namespace) -> None:
    """Fewer judges on a pool of 800: AUROC and products."""
    paths, labels = _tile_pool(options, 800)
    stream = read(paths)
    print(f"magnetic_tile, {len(paths)} images, {int(labels.sum())} anomalous, int8 products")
    print("| judges | products | of all | image AUROC | without RsCIN | CPU seconds |")
    print("|---|---|---|---|---|---|")
    everyone = 0
    for count in (None, 180, 100, 40):
        start = time.process_time()
        found = score(stream, judges=count, products="int8")
        took = time.process_time() - start
        everyone = everyone or found.products
        share = f"1/{everyone / found.products:.1f}"
        figures = f"{image_auroc(found.image, labels):.4f} | "
        figures += f"{image_auroc(found.parts['raw'], labels):.4f} | {took:.0f}"
        print(f"| {found.judges} | {found.products} | {share} | {figures} |", flush=True)


def rounded(options: argparse.Namespace) -> None:
    """Rounded products: AUROC, rank correlation and time."""
    from scipy.stats import kendalltau

    print("| set | products | image AUROC | Kendall's tau of raw scores | times quicker |")
    print("|---|---|---|---|---|")
    for name in options.sets:
        paths, labels = test_images(options.data / name)
        stream = read(paths)
        first = None
        for products in ("float32", "int16", "int8"):
            start = time.process_time()
            found = score(stream, products=products)
            took = time.process_time() - start
            first = first or (found, took)
            tau = kendalltau(first[0].parts["raw"], found.parts["raw"]).statistic
            figures = f"{image_auroc(found.image, labels):.4f} | {tau:.4f} | {first[1] / took:.1f}"
            print(f"| {Path(name).name} | {products} | {figures} |", flush=True)


def frozen(options: argparse.Namespace) -> None:
    """The frozen pool: test images judged by images kept from the others, or from good ones."""
    import torch

    from anomalib_lite.scorers import FitContext, create_scorer

    print("| set | test images | kept | unlabelled pool, out of fold | good | pool itself, raw |")
    print("|---|---|---|---|---|---|")
    for name in options.sets:
        start = time.process_time()
        paths, labels = test_images(options.data / name)
        shown = f"{len(paths)}"
        if options.most is not None and len(paths) > options.most:
            shown = f"{options.most} of {len(paths)}, drawn by seed 0"
            chosen = np.sort(np.random.default_rng(0).permutation(len(paths))[: options.most])
            paths, labels = [paths[place] for place in chosen], labels[chosen]
        pool = read(paths)
        good = read(sorted((options.data / name / "train/good").iterdir()))
        whole = image_auroc(score(pool, products=options.products).parts["raw"], labels)
        for kept in (8, 24):
            scorer: Any = create_scorer("musc", references=kept)
            scorer.build(pool.layout)
            folds = np.random.default_rng(0).permutation(len(paths)) % 5
            with torch.no_grad():
                out_of_fold = scorer.cross_fit(_Subsets(pool), folds, FitContext())
                scorer.fit(good, FitContext())
                by_good = np.concatenate([scorer(b.features).image.numpy() for b in pool])
            order = np.argsort(out_of_fold.indices)
            figures = f"{image_auroc(out_of_fold.image[order], labels):.4f} | "
            figures += f"{image_auroc(by_good, labels):.4f} | {whole:.4f}"
            print(f"| {Path(name).name} | {shown} | {kept} | {figures} |", flush=True)
        took, products = time.process_time() - start, options.products
        print(f"{Path(name).name}: {took:.0f} CPU s, pool itself with {products}", flush=True)


class _Subsets(Held):
    """A held stream with `subset`, which keeps the numbers of the images."""

    def __init__(self, held: Held) -> None:
        self.layout, self.backbone, self.batches = held.layout, held.backbone, held.batches
        self._held = held

    def subset(self, indices: Sequence[int]) -> Held:
        narrowed = self._held.take(list(indices))
        narrowed.batches = [
            batch._replace(indices=np.array([index]))
            for batch, index in zip(narrowed.batches, indices, strict=True)
        ]
        return narrowed


def limits(options: argparse.Namespace) -> None:
    """AUROC against pool size, share of defects, and one defect that repeats (bottle)."""
    paths, labels = test_images(options.data / "mvtec_ad/bottle")
    good = sorted((options.data / "mvtec_ad/bottle/train/good").iterdir())[:80]
    stream = read([*paths, *good])
    truth = np.concatenate([labels, np.zeros(len(good), bool)])
    defects = np.array([path.parent.name for path in paths] + ["good"] * len(good))
    print("| case | pool | defective | AUROC mean | lowest |\n|---|---|---|---|---|")

    def measure(case: str, count: int, bad: int, kind: str | None = None, copies: int = 1) -> None:
        figures = []
        for draw in range(DRAWS):
            rng = np.random.default_rng(draw)
            wanted = np.flatnonzero(truth if kind is None else defects == kind)
            different = rng.permutation(wanted)[: bad // copies]
            fine = rng.permutation(np.flatnonzero(~truth))[: count - bad]
            chosen = np.concatenate([np.repeat(different, copies), fine])
            found = score(stream.take(chosen.tolist()))
            figures.append(image_auroc(found.image, truth[chosen]))
        shown = f"{np.mean(figures):.4f} | {min(figures):.4f}"
        print(f"| {case} | {count} | {bad} | {shown} |", flush=True)

    for bad in (2, 8, 16, 24, 32):
        measure("three kinds of defect", 40, bad)
    for bad in (2, 6, 10, 15, 20):
        measure("one kind, broken_large", 30, bad, "broken_large")
    for copies in (1, 2, 4, 8, 16):
        measure("one defective photograph again and again", 40, copies, copies=copies)
    for count in (5, 10, 25, 50, 100):
        measure("a fifth defective", count, count // 5)


def large(options: argparse.Namespace) -> None:
    """Thousands of images through `Pool` to the end; only when it is named."""
    measure_large(options, VIT, BLOCKS)


PARTS = {
    "speed": speed,
    "accuracy": accuracy,
    "rscin": rscin,
    "backbones": backbones,
    "turning": turning,
    "rounded": rounded,
    "frozen": frozen,
    "limits": limits,
    "cost": cost,
    "judges": judges,
    "large": large,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--weights", type=Path, default=SHARED / "weights")
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="folders below --data")
    parser.add_argument("--only", choices=list(PARTS), help="one part")
    parser.add_argument("--layers", nargs="+", choices=list(BACKBONES), default=list(BACKBONES))
    parser.add_argument(
        "--products", default="float32", help="of accuracy, backbones, frozen, large"
    )
    parser.add_argument("--plot", type=Path, help="of cost: SVG file to draw")
    parser.add_argument("--most", type=int, help="of frozen: at most so many test images of a set")
    parser.add_argument("--images", type=int, default=2000, help="of large")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "musc-large",
        help="of large: folder that keeps what is done; run again to go on",
    )
    parser.add_argument("--repeats", type=int, default=5, help="of the speed comparison")
    options = parser.parse_args()
    if not options.data.is_dir() or not options.weights.is_dir():
        sys.exit(f"needs {options.data} and {options.weights}; name others with --data, --weights")
    os.environ["ANOMALIB_LITE_WEIGHTS"] = str(options.weights)
    for name, part in PARTS.items():
        if options.only == name or (options.only is None and name != "large"):
            print(f"== {name}", flush=True)
            part(options)


if __name__ == "__main__":
    main()
