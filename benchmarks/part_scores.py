"""Raw scores of several detectors on one set, from one backbone pass a set that stays on disk.

What `fusion.py` and `layers.py` compare rules on, without fitting anything again. Three in ten good
images are held out, as `--calibration holdout` does with two: their scores, those of simulated
defects and of harmless changes of some of them, and those of test images with their labels.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_lite.backbones import Backbone, Features, create_backbone
from anomalib_lite.backbones.features import FeatureLayout
from anomalib_lite.data.simulate import HARMLESS_KINDS, harmless_change
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.sources import open_source
from anomalib_lite.scorers import FitContext, FrameBatch, Scorer, create_scorer
from anomalib_lite.scorers.fusion.earned_weights import with_defects

BATCH = 8
Floats = NDArray[np.float64]

LEARNT = 200
"""Good images, at most, that the parts are fitted on."""
SIMULATED = 24
"""Held-out good images, at most, that get a defect of each kind."""


def parts_of(backbone: str, rows: int) -> dict[str, dict[str, Any]]:
    """Parts and their settings; what stands behind the space in a name tells variants apart."""
    deep = {"resnet18": "layer3", "pdn_edge": "stride16"}[backbone]
    return {
        "mvg": {},
        "padim": {},
        "patchcore": {"rows": rows},
        "patchcore 16": {"rows": rows, "patch_layers": [deep]},
    }


@dataclass(frozen=True)
class Scored:
    """Scores of one set, one column a part `(n, P)`; `mvg` has one for each layer (`mvg:layer3`).

    Attributes:
        names: of the columns.
        held_out: good images that no part has seen.
        good, defects, moved: some of them, simulated defects on these, harmless changes.
        test: test images.
        labels: 1 for a defective test image.
        kinds: folder of each test image.
    """

    names: list[str]
    held_out: Floats
    good: Floats
    defects: Floats
    moved: Floats
    test: Floats
    labels: NDArray[np.int64]
    kinds: list[str]

    def column(self, name: str, which: str) -> Floats:
        """Scores of a part; of `mvg` the sum over its layers."""
        scores: Floats = getattr(self, which)
        chosen = [place for place, own in enumerate(self.names) if own.split(":")[0] == name]
        if not chosen:
            chosen = [self.names.index(name)]
        return scores[:, chosen].sum(axis=1)

    def of(self, names: list[str], which: str) -> Floats:
        """Scores of some parts `(n, P)`."""
        return np.stack([self.column(name, which) for name in names], axis=1)


class Kept:
    """A stream whose frames and features lie on disk (memory-mapped)."""

    def __init__(
        self, layout: FeatureLayout, backbone: Backbone, folder: Path, indices: Any = None
    ) -> None:
        self.layout, self.backbone, self._folder = layout, backbone, folder
        self._frames = np.load(folder / "frames.npy", mmap_mode="r")
        self._maps = {
            layer.name: np.load(folder / f"{layer.name}.npy", mmap_mode="r")
            for layer in layout.layers
        }
        self.indices = np.arange(len(self._frames)) if indices is None else np.sort(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[FrameBatch]:
        for start in range(0, len(self.indices), BATCH):
            yield self._batch(self.indices[start : start + BATCH])

    def _batch(self, chosen: NDArray[np.int64]) -> FrameBatch:
        frames = torch.from_numpy(self._frames[chosen])

        def read(given: Any) -> Features:
            if given is not frames:
                return self.features(given)
            maps = {name: torch.from_numpy(item[chosen]) for name, item in self._maps.items()}
            return Features(torch.zeros(len(chosen), 3, 1, 1), maps)

        return FrameBatch(frames, chosen, read)

    def subset(self, indices: Any) -> Kept:
        """The same stream narrowed; its numbers stay."""
        return Kept(self.layout, self.backbone, self._folder, np.asarray(indices, np.int64))

    def features(self, frames: Any) -> Features:
        """Features of changed frames."""
        with torch.no_grad():
            return self.backbone.read(frames)


def keep(paths: list[Path], backbone: Backbone, spec: InputSpec, folder: Path) -> Kept:
    """Frames and features of some images on disk, read and computed once."""
    layout = backbone.layout(spec.size_hw)
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        stream = ImageStream(open_source([str(path) for path in paths]), backbone, spec)
        shapes = {layer.name: (layer.channels, *layer.grid_hw) for layer in layout.layers}
        made: dict[str, Any] = {
            name: np.lib.format.open_memmap(
                folder / f"{name}.npy", "w+", np.float32, (len(paths), *shape)
            )
            for name, shape in shapes.items()
        }
        frames = np.lib.format.open_memmap(
            folder / "frames.npy", "w+", np.uint8, (len(paths), *spec.size_hw, 3)
        )
        for batch in stream:
            frames[batch.indices] = batch.frames.numpy()
            for name, item in batch.features.maps.items():
                made[name][batch.indices] = item.numpy()
        if stream.skipped:
            sys.exit(f"unusable images: {stream.skipped}")
        (folder / "done").touch()
    return Kept(layout, backbone, folder)


def scored(folder: Path, backbone: str, seed: int, cache: Path, rows: int) -> Scored:
    """Scores of one set by all parts; what is in the cache is taken from it."""
    own = cache / f"{folder.name}_{backbone}"
    found = own / f"scores_{rows}_{seed}.npz"
    if not found.exists():
        arrays = _measure(folder, backbone, seed, own, parts_of(backbone, rows))
        partly = own / f"partly_{seed}.npz"
        np.savez(partly, **arrays)
        partly.rename(found)
    with np.load(found) as read:
        arrays = dict(read)
    names = json.loads(str(arrays["names"]))
    kinds = json.loads(str(arrays["kinds"]))
    rest = ("held_out", "good", "defects", "moved", "test", "labels")
    return Scored(names, *(arrays[key] for key in rest), kinds)


def _measure(
    folder: Path, backbone: str, seed: int, own: Path, parts: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    spec, context = InputSpec(height=256, width=256), FitContext(seed=seed)
    network = create_backbone(backbone, input_hw=spec.size_hw)
    train = keep(sorted((folder / "train/good").iterdir()), network, spec, own / "train")
    paths = sorted(path for path in (folder / "test").rglob("*") if path.is_file())
    test = keep(paths, network, spec, own / "test")
    drawn = np.random.default_rng(seed).permutation(len(train))
    held = np.sort(drawn[: round(0.3 * len(train))])
    learnt = np.sort(drawn[len(held) :][:LEARNT])
    judged = held[np.linspace(0, len(held) - 1, min(SIMULATED, len(held))).round().astype(np.int64)]
    scorers = {name: create_scorer(name.split(" ")[0], **given) for name, given in parts.items()}
    found: dict[str, Any] = {}
    with torch.no_grad():
        for name, scorer in scorers.items():
            start = time.process_time()
            scorer.build(train.layout)
            scorer.fit(train.subset(learnt), context)
            print(f"{folder.name} {name}: {time.process_time() - start:.0f} s", file=sys.stderr)
        defects, moved = [], []
        for batch in train.subset(judged):
            defects += [_row(scorers, bad.features) for bad in with_defects(batch, None, seed)]
            moved.append(_row(scorers, _moved(train, batch, seed)))
        found["defects"], found["moved"] = np.concatenate(defects), np.concatenate(moved)
        for key, stream in (("held_out", train.subset(held)), ("test", test)):
            found[key] = np.concatenate([_row(scorers, batch.features) for batch in stream])
        found["good"] = found["held_out"][np.searchsorted(held, judged)]
    names = [
        column
        for name in scorers
        for column in ([f"mvg:{x.name}" for x in train.layout.layers] if name == "mvg" else [name])
    ]
    kinds = [path.parent.name for path in paths]
    labels = np.array([kind != "good" for kind in kinds], np.int64)
    return {**found, "labels": labels, "names": json.dumps(names), "kinds": json.dumps(kinds)}


def _moved(train: Kept, batch: FrameBatch, seed: int) -> Features:
    pairs = [
        harmless_change(frame, kind, np.random.default_rng([seed, index, number]))
        for frame, index in zip(batch.frames.numpy(), batch.indices.tolist(), strict=True)
        for number, kind in enumerate(HARMLESS_KINDS)
    ]
    return train.features(torch.from_numpy(np.stack(pairs)))


def _row(scorers: Mapping[str, Scorer], features: Features) -> Floats:
    columns = []
    for name, scorer in scorers.items():
        if name == "mvg":
            columns += [item.double().numpy() for item in scorer.parts(features).values()]  # type: ignore[attr-defined]
        else:
            columns.append(scorer(features).image.double().numpy())
    return np.stack(columns, axis=1)
