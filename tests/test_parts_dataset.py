"""Data sets of made parts on disk, and the committed ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from anomalib_lite.data.parts import defect_names, render, write_dataset
from anomalib_lite.edge.errors import SettingsError

DATA = Path(__file__).parent.parent / "data"
SMALL = {"train": 2, "test_good": 1, "test_per_defect": 1, "size": 64}


def files(home: Path) -> dict[str, bytes]:
    """Every file below home by its relative path."""
    return {
        path.relative_to(home).as_posix(): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file()
    }


def test_a_data_set_has_the_layout_of_mvtec_ad(tmp_path: Path) -> None:
    home = write_dataset(tmp_path, "tablet", **SMALL)
    names = [info.name for info in defect_names("tablet")]
    assert home == tmp_path / "tablet"
    assert set(files(home)) == {
        "train/good/000.jpg",
        "train/good/001.jpg",
        "test/good/000.jpg",
        *(f"test/{name}/000.jpg" for name in names),
        *(f"ground_truth/{name}/000_mask.png" for name in names),
    }


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    once = files(write_dataset(tmp_path / "a", "weave", seed=5, **SMALL))
    assert files(write_dataset(tmp_path / "b", "weave", seed=5, **SMALL)) == once
    assert files(write_dataset(tmp_path / "a", "weave", seed=5, **SMALL)) == once


def test_an_image_does_not_depend_on_how_many_are_made(tmp_path: Path) -> None:
    few = files(write_dataset(tmp_path / "few", "tablet", **SMALL))
    more = {"train": 4, "test_good": 3, "test_per_defect": 2, "size": 64}
    many = files(write_dataset(tmp_path / "many", "tablet", **more))
    assert few.items() <= many.items()


def test_no_two_images_of_a_data_set_are_the_same(tmp_path: Path) -> None:
    made = files(write_dataset(tmp_path, "flange", **SMALL))
    images = [data for name, data in made.items() if name.endswith(".jpg")]
    assert len(set(images)) == len(images)


def test_png_files_hold_the_rendered_pixels_in_the_right_colour_order(tmp_path: Path) -> None:
    home = write_dataset(tmp_path, "flange", image_format="png", seed=2, **SMALL)
    stored = cv2.imread(str(home / "train/good/001.png"))
    assert stored is not None
    made = render("flange", seed=2, index=1, size=64)
    np.testing.assert_array_equal(stored[..., ::-1], made.image)


def test_progress_counts_up_to_the_number_of_images(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_dataset(tmp_path, "tablet", **SMALL, progress=lambda done, of: seen.append((done, of)))
    total = 2 + 1 + len(defect_names("tablet"))
    assert seen == [(k, total) for k in range(1, total + 1)]


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    stranger = tmp_path / "weave" / "train" / "good" / "mine.jpg"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"mine")
    with pytest.raises(SettingsError, match=r"holds 1 file\(s\) .* train/good/mine\.jpg"):
        write_dataset(tmp_path, "weave", **SMALL)
    assert files(tmp_path) == {"weave/train/good/mine.jpg": b"mine"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_format": "bmp"}, "unknown image format 'bmp'; choose jpg or png"),
        ({"train": -1}, "train must be 0 to 10000, not -1"),
        ({"test_per_defect": 10_001}, "test_per_defect must be 0 to 10000, not 10001"),
    ],
)
def test_impossible_settings_are_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        write_dataset(tmp_path, "weave", **(SMALL | change))  # type: ignore[arg-type]
    assert files(tmp_path) == {}


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "taken"
    root.write_bytes(b"")
    with pytest.raises(SettingsError, match="cannot write"):
        write_dataset(root, "weave", **SMALL)


def load_script() -> ModuleType:
    """data/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", DATA / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()


@pytest.mark.parametrize("product", SCRIPT.PRODUCTS)
def test_the_committed_files_are_what_the_generator_writes(product: str, tmp_path: Path) -> None:
    committed, counts = files(DATA / "parts" / product), SCRIPT.COUNTS
    defects = len(defect_names(product))
    images = counts["train"] + counts["test_good"] + counts["test_per_defect"] * defects
    assert len(committed) == images + counts["test_per_defect"] * defects
    made = files(
        write_dataset(tmp_path, product, seed=SCRIPT.SEED, train=2, test_good=1, test_per_defect=1)
    )
    for name, data in made.items():
        if data != committed[name]:
            assert_same_but_for_rounding(data, committed[name], name)


def assert_same_but_for_rounding(made: bytes, committed: bytes, name: str) -> None:
    """Without AVX2 OpenCV rounds differently; JPEG then spreads a grey level over a few pixels."""
    first, second = (
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).astype(int)
        for data in (made, committed)
    )
    change = np.abs(first - second)
    assert not name.endswith("_mask.png"), name
    assert change.max() <= 10, name
    assert (change > 0).mean() < 0.01, name


def test_the_committed_files_stay_small() -> None:
    assert sum(len(data) for data in files(DATA / "parts").values()) < 4e6
