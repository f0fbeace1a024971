"""Small data sets of generated parts, and the command line without a process of its own."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from evaluation_helpers import Cli

from anomalib_lite.cli.main import run
from anomalib_lite.data.parts import write_dataset

# The images are tiny: more threads would only wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the MVTec layout with the category `weave`; AUPIMO needs this many pixels."""
    root = tmp_path_factory.mktemp("parts")
    write_dataset(root, "weave", train=10, test_good=12, test_per_defect=2, size=96)
    return root


@pytest.fixture
def own_parts(parts: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(parts, tmp_path / "own"))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command line in this process and return its exit status."""

    def call(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["anomalib-lite", *map(str, words)])
        try:
            run()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return call


@pytest.fixture
def loco_parts(own_parts: Path) -> Path:
    """The same parts as MVTec LOCO publishes: two families, several masks an image, a config."""
    home = own_parts / "weave"
    defects = sorted(path for path in (home / "test").iterdir() if path.name != "good")
    families = ("logical_anomalies", "structural_anomalies")
    for number, folder in enumerate(defects):
        family = families[number % 2]
        for image in sorted(folder.iterdir()):
            stem = f"{number}{image.stem}"
            (home / "test" / family).mkdir(exist_ok=True)
            image.rename(home / "test" / family / f"{stem}{image.suffix}")
            mask = cv2.imread(str(home / f"ground_truth/{folder.name}/{image.stem}_mask.png"), 0)
            channels = home / "ground_truth" / family / stem
            channels.mkdir(parents=True)
            cv2.imwrite(str(channels / "000.png"), np.where(mask > 0, 255 - number % 2, 0))
        folder.rmdir()
        shutil.rmtree(home / "ground_truth" / folder.name)
    rules = [
        {"defect_name": "a", "pixel_value": 255, "saturation_threshold": 10},
        {"defect_name": "b", "pixel_value": 254, "saturation_threshold": 0.5},
    ]
    for rule in rules:
        rule["relative_saturation"] = rule["pixel_value"] == 254
    (home / "defects_config.json").write_text(json.dumps(rules))
    return own_parts
