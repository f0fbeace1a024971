"""Data sets of made parts on disk, and the committed ones."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from anomalib_lite.data.parts import defect_names, render, write_dataset
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.statistics.near_copies import shared_detail

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


def test_views_show_one_part_and_the_first_is_what_it_was(tmp_path):
    first = render("flange", seed=3, index=5, size=96).image
    views = [render("flange", seed=3, index=5, size=96, view=view).image for view in range(4)]
    others = [render("flange", seed=3, index=index, size=96).image for index in range(6, 12)]
    assert np.array_equal(views[0], first)
    for one, other in itertools.combinations(views, 2):
        assert not np.array_equal(one, other)
    near = [shared_detail(_grey(first), _grey(view)) for view in views[1:]]
    far = [shared_detail(_grey(first), _grey(other)) for other in others]
    assert np.median(near) > np.median(far)
    assert np.array_equal(views[2], render("flange", seed=3, index=5, size=96, view=2).image)
    with pytest.raises(SettingsError, match="view must be 0 or more"):
        render("flange", seed=0, index=0, view=-1)


def test_a_defect_keeps_its_mask_in_every_view():
    for view in (0, 1, 2):
        good = render("flange", seed=0, index=1, split="test", size=96, view=view)
        bad = render("flange", seed=0, index=1, split="test", size=96, view=view, defect="scratch")
        outside = bad.mask == 0
        assert 0 < (bad.mask > 0).mean() < 0.2
        assert (np.abs(good.image[outside].astype(int) - bad.image[outside]) > 12).mean() < 0.01


def test_a_data_set_of_views_names_the_part_of_each(tmp_path):
    home = write_dataset(
        tmp_path, "weave", train=3, test_good=2, test_per_defect=1, size=64, views=3
    )
    train = sorted(path.name for path in (home / "train/good").iterdir())
    assert train == [f"{part:03d}_{view}.jpg" for part in range(3) for view in range(3)]
    assert len(list((home / "test/good").iterdir())) == 6
    with pytest.raises(SettingsError, match="views must be 1 to 100, not 0"):
        write_dataset(tmp_path / "x", "weave", views=0)


def _grey(image):
    return cv2.resize(image[..., 1], (128, 128), interpolation=cv2.INTER_AREA)
