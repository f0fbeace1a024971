"""From settings to a list of runs: one a category, detector, backbone and seed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from anomalib_lite.backbones import create_backbone
from anomalib_lite.data.adapters import Dataset, open_dataset
from anomalib_lite.data.sample import Sample
from anomalib_lite.edge.errors import SourceError
from anomalib_lite.edge.files import sha256_file
from anomalib_lite.evaluation.settings import EvaluationSettings
from anomalib_lite.scorers import Progress, create_scorer
from anomalib_lite.system.versions import installed_versions

FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Category:
    """One category of a data set, with the digest of its files.

    Attributes:
        data: the specification it was named by.
        kind: kind of data set.
        name: the category.
        root: absolute folder that sample names are relative to.
        source: folder or list that the category was read from.
        samples: all of its samples in order.
        fingerprint: sha256 over names, labels and content of all images and masks.
    """

    data: str
    kind: str
    name: str
    root: Path
    source: Path
    samples: tuple[Sample, ...]
    fingerprint: str

    def shown(self, path: Path) -> str:
        """A file's name: relative to the root with forward slashes, or whole if it lies outside."""
        return _relative(path, self.root)

    def training(self, limit: int | None, seed: int) -> list[Sample]:
        """Good training samples in order; with a limit, so many of them drawn by the seed."""
        good = [sample for sample in self.samples if sample.split == "train" and not sample.label]
        if limit is None or limit >= len(good):
            return good
        drawn = np.random.default_rng(seed).permutation(len(good))[:limit]
        return [good[index] for index in sorted(drawn)]

    def testing(self) -> list[Sample]:
        """Test samples in order."""
        return [sample for sample in self.samples if sample.split == "test"]


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """One fit and its measurement.

    Attributes:
        key: file name of the run, stable from call to call.
        category: what it is measured on.
        detector, backbone, seed: what is fitted.
        settings: everything that can change its figures, plain JSON types.
        evaluation: the settings it belongs to.
    """

    key: str
    category: Category
    detector: str
    backbone: str
    seed: int
    settings: dict[str, Any]
    evaluation: EvaluationSettings

    @property
    def label(self) -> str:
        """For messages and progress bars."""
        return f"{self.category.name} {self.detector} {self.backbone} seed {self.seed}"

    @property
    def digest(self) -> str:
        """sha256 of the settings."""
        return digest_settings(self.settings)


def digest_settings(settings: dict[str, Any]) -> str:
    """sha256 of plain JSON settings, independent of the order of keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def make_plan(settings: EvaluationSettings, progress: Progress) -> list[PlannedRun]:
    """Open the data, check every name and setting before the first fit, and list the runs.

    Runs are ordered by category, then detector, backbone and seed.

    Raises:
        SourceError: a data set cannot be opened, or has nothing to fit on or to test.
        SettingsError: a detector does not know a setting.
        WeightsError: a backbone has no weights.
    """
    described = _described(settings)
    shared = {
        "format_version": FORMAT_VERSION,
        "image_size_hw": list(settings.image_size),
        "max_false_reject": settings.max_false_reject,
        "limit_train": settings.limit_train,
        "pixel": settings.pixel,
        "map_resolution": settings.map_resolution,
        "unlabelled_shift": settings.unlabelled_shift,
        **settings.limited,
        "versions": installed_versions(),
    }
    runs = []
    for category in _open_all(settings.data, progress):
        for detector in settings.detectors:
            for backbone in settings.backbones:
                combination = {
                    "kind": category.kind,
                    "category": category.name,
                    "data_fingerprint": category.fingerprint,
                    **described[detector, backbone],
                    **shared,
                }
                make = partial(_planned, category, detector, backbone, combination, settings)
                runs += [make(seed) for seed in range(settings.seeds)]
    return runs


def _described(settings: EvaluationSettings) -> dict[tuple[str, str], dict[str, Any]]:
    """Settings of detector and backbone, by their names; builds each backbone once per layers."""
    spec = settings.spec()
    made: dict[tuple[str, frozenset[str] | None], dict[str, Any]] = {}

    def backbone_with(name: str, layers: Sequence[str] | None) -> dict[str, Any]:
        key = (name, None if layers is None else frozenset(layers))
        if key not in made:
            built = create_backbone(
                name, layers=layers, weights=settings.weights, input_hw=spec.size_hw
            )
            made[key] = {**built.settings(), "weights_sha256": built.weights_sha256}
            made[name, frozenset(built.layer_names)] = made[key]
        return made[key]

    found = {}
    for detector in settings.detectors:
        for backbone in settings.backbones:
            scorer = create_scorer(detector, **settings.for_detector(detector))
            shared = backbone_with(backbone, settings.layers_for(detector))["layers"]
            found[detector, backbone] = {
                "backbone": backbone_with(backbone, scorer.read_layers(shared)),
                "detector": {"name": detector, "settings": scorer.settings()},
            }
    return found


def _planned(
    category: Category,
    detector: str,
    backbone: str,
    combination: dict[str, Any],
    evaluation: EvaluationSettings,
    seed: int,
) -> PlannedRun:
    words = (category.kind, category.name, detector, backbone, f"seed{seed}")
    plain = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", word) for word in words)
    # The folder tells apart equal names from two places, and names that differ only in odd letters.
    place = hashlib.sha256("\0".join((str(category.root), *words)).encode()).hexdigest()[:8]
    return PlannedRun(
        f"{plain}-{place}",
        category,
        detector,
        backbone,
        seed,
        {**combination, "seed": seed},
        evaluation,
    )


def _open_all(specs: Iterable[str], progress: Progress) -> list[Category]:
    categories: list[Category] = []
    for text in specs:
        dataset = open_dataset(text)
        categories += [_category(text, dataset, name, progress) for name in dataset.categories]
    seen: set[tuple[str, Path, str]] = set()
    for category in categories:
        place = (category.kind, category.root, category.name)
        if place in seen:
            raise SourceError(f"{category.data}: {category.name} is named twice; name it once")
        seen.add(place)
    return categories


def _category(text: str, dataset: Dataset, name: str, progress: Progress) -> Category:
    samples = tuple(dataset.samples(category=name))
    where = f"{dataset.root}: category {name!r}"
    if not any(sample.split == "train" and not sample.label for sample in samples):
        raise SourceError(f"{where} has no good training image; there is nothing to fit on")
    if not any(sample.split == "test" for sample in samples):
        raise SourceError(
            f"{where} has no test image; add folders with defects, or good images held back"
        )
    root = dataset.root.resolve()

    def place(path: Path) -> Path:
        below = path.is_relative_to(dataset.root)
        return root / path.relative_to(dataset.root) if below else path.resolve()

    placed = tuple(
        replace(
            sample,
            path=place(sample.path),
            mask_paths=tuple(place(path) for path in sample.mask_paths),
        )
        for sample in samples
    )
    fingerprint = _fingerprint(placed, root, progress)
    source = place(dataset.sources[name])
    return Category(text, dataset.kind, name, root, source, placed, fingerprint)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _fingerprint(samples: tuple[Sample, ...], root: Path, progress: Progress) -> str:
    digest = hashlib.sha256()
    for done, sample in enumerate(samples, 1):
        facts = (_relative(sample.path, root), sample.split, str(sample.label), sample.defect)
        contents = [_content(path) for path in (sample.path, *sample.mask_paths)]
        digest.update("\0".join((*facts, *contents)).encode() + b"\n")
        progress("hashing data", done, len(samples))
    return digest.hexdigest()


def _content(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        return f"unreadable ({error.strerror or type(error).__name__})"
