"""Hidden files, odd names, odd case and links neither break a listing nor enter it."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalib_lite.data.adapters import check_dataset, open_dataset

from . import trees


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return trees.mvtec(tmp_path / "set")


@pytest.mark.parametrize(
    "name", [".hidden.png", "._000.png", "Thumbs.db", "desktop.ini", ".DS_Store", "notes.txt"]
)
def test_files_that_are_no_data_are_passed_over(name: str, root: Path) -> None:
    for folder in ("train/good", "test/crack", "ground_truth/crack", "."):
        trees.text(root / "bottle" / folder / name, "x")
    assert len(open_dataset(f"mvtec:{root}").samples()) == 12


@pytest.mark.parametrize("name", [".cache", "__MACOSX"])
def test_folders_that_are_no_data_are_passed_over(name: str, root: Path) -> None:
    trees.picture(root / name / "train" / "good" / "a.png")
    trees.picture(root / "bottle" / "test" / name / "a.png")
    dataset = open_dataset(f"mvtec:{root}")
    assert dataset.categories == ("bottle", "screw")
    assert {s.defect for s in dataset.samples()} == {"good", "crack"}


@pytest.mark.parametrize("name", ["003.JPG", "003.Jpeg", "with space.PNG", "Prüfling №3 零件.png"])
def test_names_in_any_case_and_script_are_listed_with_their_mask(name: str, root: Path) -> None:
    image = trees.picture(root / "bottle" / "test" / "crack" / name)
    truth = trees.mask(root / "bottle" / "ground_truth" / "crack" / f"{image.stem}_mask.PNG")
    dataset = open_dataset(f"mvtec:{root}")
    found = [s for s in dataset.samples() if s.path == image]
    assert [s.mask_paths for s in found] == [(truth,)]
    assert check_dataset(dataset).usable


def test_folder_names_may_have_another_case(tmp_path: Path) -> None:
    trees.picture(tmp_path / "set/Train/Good/a.png")
    trees.picture(tmp_path / "set/Test/Dirty spot/b.png")
    trees.mask(tmp_path / "set/Ground_Truth/dirty Spot/b.png")
    samples = open_dataset(f"mvtec:{tmp_path / 'set'}").samples()
    assert [(s.split, s.defect, len(s.mask_paths)) for s in samples] == [
        ("train", "good", 0),
        ("test", "Dirty spot", 1),
    ]


def test_a_category_may_be_a_link_to_another_disk(root: Path, tmp_path: Path) -> None:
    (root / "bottle").rename(tmp_path / "elsewhere")
    (root / "bottle").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert open_dataset(f"mvtec:{root}").categories == ("bottle", "screw")


def test_a_loop_of_folder_links_is_walked_once(tmp_path: Path) -> None:
    image = trees.picture(tmp_path / "set/good/day 1/a.png")
    (image.parent / "back").symlink_to(tmp_path / "set", target_is_directory=True)
    (tmp_path / "set/good/self").symlink_to(tmp_path / "set/good/self")
    assert [s.path for s in open_dataset(f"folder:{tmp_path / 'set'}").samples()] == [image]


def test_a_dangling_link_is_listed_and_reported(root: Path) -> None:
    (root / "screw/train/good/gone.png").symlink_to(root / "nowhere.png")
    (root / "screw/train/good/self.png").symlink_to(root / "screw/train/good/self.png")
    report = check_dataset(open_dataset(f"mvtec:{root}"))
    assert [problem.path for problem in report.unreadable] == [
        "screw/train/good/gone.png",
        "screw/train/good/self.png",
    ]


def test_listing_does_not_open_images(root: Path) -> None:
    for path in root.rglob("*.png"):
        path.write_bytes(b"not an image")
    assert len(open_dataset(f"mvtec:{root}").samples()) == 12
