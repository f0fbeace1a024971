"""Does a threshold keep what it promises, where several images show one part?

    python benchmarks/promise.py [--calibrations 200]
    python benchmarks/promise.py --rendered        # photographs of the parts generator

Synthetic features through the real calibration: a part is a random vector, a picture of it that
vector and noise of its own. Each simulated fit learns from `parts` of them with `views` pictures
each (and, with copies, each picture twice), then 4,000 pictures of as many new parts are judged by
the fitted model. Printed: how often the realised share of false rejects stayed within the stated
95 % bound, the mean of it against the expected rate that was stated; and the same where every
picture is taken for a part of its own, which is what a program does that draws folds by file.

With `--rendered` the pictures are photographs of drawn parts, three of each (the generator lays a
part down again and shoots it anew), seen by the `filters` backbone; each calibration draws its
parts from 400, and is judged on one picture each of the parts that it has not drawn and of 1,200.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_lite.backbones.features import FeatureLayout, Features, LayerInfo
from anomalib_lite.detector.out_of_fold import calibrate, score_stream
from anomalib_lite.scorers import FitContext, FrameBatch, create_scorer

CHANNELS = 6
_BATCH = 512


class Vectors:
    """A stream of made-up features, one vector an image; stands in for `FeatureStream`."""

    layout = FeatureLayout((32, 32), (LayerInfo("vector", CHANNELS, 32, (1, 1)),))

    def __init__(self, rows: NDArray[np.float32], indices: Any = None) -> None:
        self.rows = rows
        self.indices = np.arange(len(rows)) if indices is None else np.asarray(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[FrameBatch]:
        for start in range(0, len(self.indices), _BATCH):
            chosen = self.indices[start : start + _BATCH]
            maps = {"vector": torch.from_numpy(self.rows[chosen])[:, :, None, None]}
            frames = torch.zeros(len(chosen), 1, 1, 3, dtype=torch.uint8)
            features = Features(torch.zeros(len(chosen), 3, 1, 1), maps)
            yield FrameBatch(frames, chosen, lambda _, features=features: features)

    def subset(self, indices: Any) -> Vectors:
        return Vectors(self.rows, indices)


def pictures(
    parts: int, views: int, within: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors of so many views of each part, and the part of each."""
    centres = rng.standard_normal((parts, CHANNELS)).repeat(views, axis=0)
    rows = centres + within * rng.standard_normal(centres.shape)
    return rows.astype(np.float32), np.arange(parts).repeat(views)


class Rendered:
    """Photographs of drawn parts as vectors, rendered once.

    Args:
        parts: from which calibrations draw.
        views: photographs of each.
        further: parts that are only judged.
    """

    def __init__(self, parts: int = 400, views: int = 3, further: int = 1200) -> None:
        from anomalib_lite.backbones import create_backbone
        from anomalib_lite.data.parts import render

        self.parts, self.views = parts, views
        backbone = create_backbone("filters", input_hw=(64, 64))
        shots = [(index, view) for index in range(parts) for view in range(views)]
        shots += [(index, 0) for index in range(parts, parts + further)]
        rows = []
        for index, view in shots:
            frame = render("flange", seed=0, index=index, size=64, view=view).image
            with torch.no_grad():
                maps = backbone.read({"frames": torch.from_numpy(frame)[None]}).maps
            means = [maps[name].mean(dim=(2, 3))[0] for name in maps]
            rows.append(torch.cat(means).numpy())
        vectors = np.stack(rows)
        vectors = (vectors - vectors.mean(axis=0)) / (vectors.std(axis=0) + 1e-6)
        # The leading directions, as many as the made-up vectors have.
        leading = np.linalg.svd(vectors, full_matrices=False)[2][:CHANNELS]
        self.vectors = (vectors @ leading.T).astype(np.float32)

    def draw(
        self, parts: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Pictures of so many parts, the part of each, and one picture each of all others."""
        order = rng.permutation(self.parts)
        chosen, others = order[:parts], order[parts:]
        shown = (chosen[:, None] * self.views + np.arange(self.views)).ravel()
        fresh = np.concatenate(
            [others * self.views, np.arange(self.parts * self.views, len(self.vectors))]
        )
        return self.vectors[shown], np.arange(parts).repeat(self.views), self.vectors[fresh]


def simulate(
    detector: str,
    method: str,
    *,
    parts: int = 40,
    views: int = 5,
    within: float = 0.2,
    copies: bool = False,
    rate: float = 0.05,
    calibrations: int = 200,
    grouped: bool = True,
    rendered: Rendered | None = None,
) -> dict[str, float]:
    """Shares of calibrations within their bound; mean realised and mean expected rate."""
    within_bound, realised, expected = [], [], []
    for seed in range(calibrations):
        rng = np.random.default_rng([7, seed])
        if rendered is None:
            rows, origins = pictures(parts, views, within, rng)
        else:
            rows, origins, fresh = rendered.draw(parts, rng)
        if copies:
            rows, origins = np.concatenate([rows, rows]), np.concatenate([origins, origins])
        if not grouped:
            origins = np.arange(len(rows))
        scorer = create_scorer(detector)
        scorer.build(Vectors.layout)
        with torch.no_grad():
            calibration, _ = calibrate(
                scorer,
                Vectors(rows),  # type: ignore[arg-type]
                FitContext(seed=seed, origins=origins),
                method=method,
                max_false_reject=rate,
            )
            if rendered is None:
                fresh = pictures(4000, 1, within, rng)[0]
            scores = score_stream(scorer, Vectors(fresh)).image  # type: ignore[arg-type]
        operating = calibration.operating
        share = float((scores > operating.threshold).mean())
        within_bound.append(share <= operating.upper_bound)
        realised.append(share)
        expected.append(operating.false_reject_rate)
    return {
        "within": float(np.mean(within_bound)),
        "realised": float(np.mean(realised)),
        "expected": float(np.mean(expected)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calibrations", type=int, default=200)
    parser.add_argument("--rendered", action="store_true", help="photographs of drawn parts")
    given = parser.parse_args()
    calibrations = given.calibrations
    rendered = Rendered() if given.rendered else None
    torch.set_num_threads(1)
    print(
        "| detector | calibration | parts x views | copies | within the bound | realised | stated"
    )
    print("|---|---|---|---|---|---|---|")
    for detector in ("knn", "mvg"):
        for method in ("folds", "holdout"):
            sets = [(200, 1, False), (100, 3, False), (100, 3, True)]
            for parts, views, copies in sets[bool(rendered) :]:
                for grouped in (True, False):
                    if views == 1 and not grouped:
                        continue
                    found = simulate(
                        detector,
                        method,
                        parts=parts,
                        views=views,
                        copies=copies,
                        calibrations=calibrations,
                        grouped=grouped,
                        rendered=rendered,
                    )
                    told = f"{parts} x {views}" + ("" if grouped else ", by file")
                    twice = "twice" if copies else "no"
                    cells = [f"{found[name]:.1%}" for name in ("within", "realised", "expected")]
                    row = [detector, method, told, twice, *cells]
                    print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
