"""Fixtures that many tests share: small generated parts, small fitted detectors and their files."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anomalib_lite import Detector
from anomalib_lite.data.parts import render

SHARED = Path(__file__).parents[2] / "shared"
SIDE = 64

torch.set_num_threads(1)  # small pictures: more threads only wait for each other


def _existing(path):
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    return path


@pytest.fixture(scope="session")
def shared_weights():
    """Folder with pretrained weights."""
    return _existing(SHARED / "weights")


@pytest.fixture(scope="session")
def shared_cases():
    """Situations that users report, as small inputs with a script that draws them."""
    return _existing(SHARED / "cases")


@pytest.fixture(scope="session")
def bottle():
    """A real data set: MVTec AD bottle."""
    return _existing(SHARED / "data" / "mvtec_ad" / "bottle")


@pytest.fixture(scope="session")
def good_frames():
    """Twelve photographs of good parts, RGB uint8 (96, 96, 3)."""
    return [render("flange", seed=0, index=index, size=96).image for index in range(12)]


@pytest.fixture(scope="session")
def scratched():
    """Three photographs of scratched parts."""
    return [
        render("flange", seed=0, index=index, split="test", defect="scratch", size=96).image
        for index in range(3)
    ]


@pytest.fixture(scope="session")
def good_folder(good_frames, tmp_path_factory):
    """The good frames as PNG files."""
    folder = tmp_path_factory.mktemp("parts") / "good"
    folder.mkdir()
    for index, frame in enumerate(good_frames):
        cv2.imwrite(str(folder / f"{index:03d}.png"), frame[:, :, ::-1])
    return folder


@pytest.fixture(scope="session")
def padim(good_frames):
    """A fitted PaDiM; do not change it."""
    return Detector("padim", backbone="filters", image_size=SIDE, num_features=16).fit(good_frames)


@pytest.fixture(scope="session")
def mvg(good_frames):
    """A fitted MVG on a rectangular input; do not change it."""
    return Detector("mvg", backbone="filters", image_size=(64, 96)).fit(good_frames)


@pytest.fixture(scope="session")
def padim_files(padim, tmp_path_factory):
    """The fitted PaDiM as (`.safetensors`, `.onnx`)."""
    return _written(padim, tmp_path_factory.mktemp("padim"))


@pytest.fixture(scope="session")
def mvg_files(mvg, tmp_path_factory):
    """The fitted MVG as (`.safetensors`, `.onnx`)."""
    return _written(mvg, tmp_path_factory.mktemp("mvg"))


def _written(detector, folder):
    saved, exported = folder / "part.safetensors", folder / "part.onnx"
    detector.save(saved)
    detector.export(exported)
    return saved, exported


@pytest.fixture
def rng():
    return np.random.default_rng(0)
