"""What a user types wrong gets one line that says what was found, expected, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from anomalib_lite.data.adapters import SPLITS, Sample, guess_kind, list_kinds, open_dataset
from anomalib_lite.data.adapters.dataset import parse_spec
from anomalib_lite.edge.errors import SourceError

from . import trees


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("mvtec:/data/ad", ("mvtec", "/data/ad", None)),
        ("mvtec:/data/ad:bottle", ("mvtec", "/data/ad", "bottle")),
        ("folder:./my parts", ("folder", "./my parts", None)),
        (" visa : /v : pcb1 ", ("visa", "/v", "pcb1")),
    ],
)
def test_a_specification_is_taken_apart(spec: str, expected: tuple[str, str, str | None]) -> None:
    assert parse_spec(spec) == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "names no kind"),
        ("bottle", "names no kind"),
        ("mvtec:", "empty part"),
        (":/data", "empty part"),
        ("mvtec:/data:", "empty part"),
        ("mvtec:C:/data:bottle", "colon inside the path"),
        ("mvtek:/data", "did you mean 'mvtec'?"),
        ("imagenet:/data", "is unknown, expected one of btad, dagm,"),
        ("mvtec:/does/not/exist", "no such folder"),
    ],
)
def test_a_wrong_specification_is_explained_in_one_line(spec: str, message: str) -> None:
    with pytest.raises(SourceError, match=re.escape(message)) as caught:
        open_dataset(spec)
    assert "\n" not in str(caught.value)


def test_an_existing_path_with_a_colon_is_explained(tmp_path: Path) -> None:
    root = trees.mvtec(tmp_path / "line:3")
    with pytest.raises(SourceError, match="colon inside the path"):
        open_dataset(f"mvtec:{root}")


def test_a_path_without_a_kind_gets_a_suggestion(tmp_path: Path) -> None:
    root = trees.loco(tmp_path / "set")
    with pytest.raises(SourceError, match=f"did you mean loco:{re.escape(str(root))}"):
        open_dataset(str(root))


def test_a_misspelt_folder_gets_the_nearest_name(tmp_path: Path) -> None:
    root = trees.mvtec(tmp_path / "mvtec_ad")
    with pytest.raises(SourceError, match=f"did you mean mvtec:{re.escape(str(root))}"):
        open_dataset(f"mvtec:{tmp_path / 'mvtec_da'}")


def test_a_file_is_not_a_data_set(tmp_path: Path) -> None:
    path = trees.text(tmp_path / "mvtec.tar.xz", "x")
    with pytest.raises(SourceError, match=r"is a file.*unpack"):
        open_dataset(f"mvtec:{path}")


@pytest.mark.parametrize(
    ("asked", "real"),
    [("mvtec", "visa"), ("loco", "mvtec"), ("mvtec", "mvtec3d"), ("visa", "dagm")],
)
def test_the_wrong_kind_is_told_what_the_layout_looks_like(
    asked: str, real: str, tmp_path: Path
) -> None:
    root = trees.TREES[real](tmp_path / real)
    with pytest.raises(SourceError, match=f"this looks like {real}:{re.escape(str(root))}"):
        open_dataset(f"{asked}:{root}")


def test_a_folder_one_level_too_high_is_told_which_one_to_open(tmp_path: Path) -> None:
    root = trees.loco(tmp_path / "sets" / "mvtec_loco")
    with pytest.raises(SourceError, match=f"did you mean loco:{re.escape(str(root))}"):
        open_dataset(f"loco:{tmp_path / 'sets'}")


@pytest.mark.parametrize("kind", [info.kind for info in list_kinds()])
def test_an_empty_folder_is_refused_by_every_kind(kind: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="found an empty folder, expected"):
        open_dataset(f"{kind}:{tmp_path}")


def test_an_unknown_category_gets_the_nearest_name(tmp_path: Path) -> None:
    root = trees.mvtec(tmp_path / "set")
    with pytest.raises(SourceError, match=r"one of bottle, screw; did you mean 'bottle'"):
        open_dataset(f"mvtec:{root}:botle")
    with pytest.raises(SourceError, match=r"'zipper' not found"):
        open_dataset(f"mvtec:{root}").samples(category="zipper")


def test_samples_run_over_all_categories_and_can_be_narrowed(tmp_path: Path) -> None:
    dataset = open_dataset(f"mvtec:{trees.mvtec(tmp_path / 'set')}")
    assert [s.category for s in dataset.samples()] == ["bottle"] * 6 + ["screw"] * 6
    assert len(dataset.samples("train")) == 6
    assert len(dataset.samples("train", "screw")) == 3
    assert len(dataset.samples(category="screw")) == 6
    assert len(dataset.samples("test", label=1)) == 4
    assert dataset.samples("validation") == []
    assert sum(len(dataset.samples(split)) for split in SPLITS) == 12


def test_an_opened_category_is_the_only_one(tmp_path: Path) -> None:
    dataset = open_dataset(f"mvtec:{trees.mvtec(tmp_path / 'set')}:screw")
    assert dataset.categories == ("screw",)
    assert {s.category for s in dataset.samples()} == {"screw"}


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    dataset = open_dataset(f"mvtec:{trees.mvtec(tmp_path / 'set')}")
    with pytest.raises(SourceError, match="split 'val' is unknown"):
        dataset.samples("val")  # type: ignore[arg-type]


def test_kinds_are_upper_or_lower_case_alike(tmp_path: Path) -> None:
    assert open_dataset(f"MVTec:{trees.mvtec(tmp_path / 'set')}").kind == "mvtec"


def test_a_relative_path_names_the_category_after_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = trees.mvtec(tmp_path / "set")
    monkeypatch.chdir(root / "bottle")
    assert open_dataset("mvtec:.").categories == ("bottle",)


def test_text_files_alone_are_no_kind(tmp_path: Path) -> None:
    trees.text(tmp_path / "set" / "readme.md", "hello")
    assert guess_kind(tmp_path / "set") is None


def test_every_kind_states_where_it_comes_from() -> None:
    for info in list_kinds():
        assert all(info.to_dict()[name] for name in ("title", "layout", "download", "licence"))
        assert info.split_rule
        assert info.kind == "folder" or (info.citation and info.homepage.startswith("https://"))


def test_the_documentation_has_a_row_for_every_kind_with_its_project_page() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "datasets.md").read_text("utf-8")
    page = page.split("## Kinds")[1].split("## What")[0]
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert sorted(rows) == [info.kind for info in list_kinds()]
    assert all(info.homepage in rows[info.kind] for info in list_kinds())


def test_a_sample_whose_label_contradicts_its_defect_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Sample(tmp_path / "a.png", 0, "crack", (), "test", None, "bottle")
