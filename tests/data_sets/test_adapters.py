"""Each public data set, as a small tree with its true names, is listed exactly."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from anomalib_lite.data.adapters import (
    Sample,
    check_dataset,
    guess_kind,
    list_kinds,
    loco,
    open_dataset,
)
from anomalib_lite.edge.errors import SourceError

from . import trees
from .listings import CATEGORIES, EXACT, Row


def rows(samples: list[Sample], root: Path) -> list[Row]:
    return [
        (
            sample.path.relative_to(root).as_posix(),
            sample.split,
            sample.defect,
            tuple(path.relative_to(root).as_posix() for path in sample.mask_paths),
        )
        for sample in samples
    ]


def counts(samples: list[Sample]) -> dict[tuple[str, str, str], int]:
    return dict(Counter((sample.category, sample.split, sample.defect) for sample in samples))


def test_there_is_a_tree_for_every_kind() -> None:
    assert sorted(trees.TREES) == [info.kind for info in list_kinds()] == sorted(CATEGORIES)


@pytest.mark.parametrize("kind", sorted(trees.TREES))
def test_categories_are_found_and_the_check_has_nothing_grave_to_say(
    kind: str, tmp_path: Path
) -> None:
    root = trees.TREES[kind](tmp_path / kind)
    dataset = open_dataset(f"{kind}:{root}")
    assert (dataset.kind, dataset.root) == (kind, root)
    assert dataset.categories == CATEGORIES[kind]
    report = check_dataset(dataset)
    assert report.usable
    assert report.images == len(dataset.samples()) > 0
    assert not report.duplicates
    assert not report.empty_masks
    assert report.image_sizes == {"12x16": report.images}


@pytest.mark.parametrize("kind", sorted(EXACT))
def test_the_listing_of_one_category_is_exact(kind: str, tmp_path: Path) -> None:
    root = trees.TREES[kind](tmp_path / kind)
    category, expected = EXACT[kind]
    samples = open_dataset(f"{kind}:{root}:{category}").samples()
    assert rows(samples, root) == expected
    assert {sample.category for sample in samples} == {category}
    assert all(sample.depth_path is None for sample in samples)


@pytest.mark.parametrize("kind", sorted(set(trees.TREES) - {"mpdd"}))
def test_the_kind_of_a_tree_is_recognised(kind: str, tmp_path: Path) -> None:
    assert guess_kind(trees.TREES[kind](tmp_path / kind)) == kind


@pytest.mark.parametrize("kind", sorted({"mvtec", "mvtec2", "loco", "mvtec3d", "btad", "dagm"}))
def test_a_single_category_folder_can_be_opened_too(kind: str, tmp_path: Path) -> None:
    root = trees.TREES[kind](tmp_path / kind)
    category = CATEGORIES[kind][0]
    whole = open_dataset(f"{kind}:{root}:{category}").samples()
    assert open_dataset(f"{kind}:{root / category}").samples() == whole


def test_mvtec_masks_may_have_the_plain_stem(tmp_path: Path) -> None:
    root = trees.mvtec(tmp_path / "toy", mask_ending=".png")
    masks = [s.mask_paths for s in open_dataset(f"mvtec:{root}").samples(label=1)]
    assert [len(found) for found in masks] == [1, 1, 1, 1]


def test_loco_names_the_file_with_its_saturation_rules(tmp_path: Path) -> None:
    root = trees.loco(tmp_path / "loco")
    path = loco.defects_config(root / "pushpins")
    assert json.loads(path.read_text())[0]["saturation_threshold"] == 6300
    path.unlink()
    with pytest.raises(SourceError, match=r"defects_config\.json: not found"):
        loco.defects_config(root / "pushpins")


def test_mvtec_3d_lists_xyz_maps_and_masks_of_defects_only(tmp_path: Path) -> None:
    root = trees.mvtec3d(tmp_path / "m3d")
    samples = open_dataset(f"mvtec3d:{root}:bagel").samples()
    assert counts(samples) == {
        ("bagel", "train", "good"): 2,
        ("bagel", "validation", "good"): 2,
        ("bagel", "test", "good"): 2,
        ("bagel", "test", "hole"): 2,
    }
    last = samples[-1]
    assert last.path == root / "bagel/test/hole/rgb/001.png"
    assert last.depth_path == root / "bagel/test/hole/xyz/001.tiff"
    assert last.mask_paths == (root / "bagel/test/hole/gt/001.png",)
    assert all(not sample.mask_paths for sample in samples if sample.label == 0)


def test_eyecandies_labels_come_from_the_metadata(tmp_path: Path) -> None:
    root = trees.eyecandies(tmp_path / "Eyecandies")
    samples = open_dataset(f"eyecandies:{root}").samples()
    assert [(s.split, s.defect) for s in samples] == [
        ("train", "good"),
        ("validation", "good"),
        ("test", "good"),
        ("test", "bumps+colors"),
        ("test", "dents"),
    ]
    data = root / "CandyCane/test_public/data"
    assert samples[3].path == data / "001_image_5.png"
    assert samples[3].depth_path == data / "001_depth.png"
    assert samples[3].mask_paths == (data / "001_mask.png",)


def test_eyecandies_without_metadata_takes_the_label_from_the_mask(tmp_path: Path) -> None:
    root = trees.eyecandies(tmp_path / "Eyecandies")
    for path in root.rglob("*_metadata.yaml"):
        path.unlink()
    samples = open_dataset(f"eyecandies:{root}").samples("test")
    assert [s.defect for s in samples] == ["good", "anomalous", "anomalous"]


def test_visa_converted_to_mvtec_layout_is_read_as_well(tmp_path: Path) -> None:
    root = trees.visa_converted(tmp_path / "visa_pytorch")
    samples = open_dataset(f"visa:{root}").samples()
    assert rows(samples, root / "1cls/candle") == [
        ("train/good/0000.JPG", "train", "good", ()),
        ("test/bad/000.JPG", "test", "bad", ("ground_truth/bad/000.png",)),
        ("test/good/0001.JPG", "test", "good", ()),
    ]


def test_ksdd_keeps_all_views_of_a_part_on_one_side_and_defects_in_the_test(
    tmp_path: Path,
) -> None:
    root = trees.ksdd(tmp_path / "KolektorSDD")
    samples = open_dataset(f"ksdd:{root}").samples()
    assert Counter(s.defect for s in samples) == {"good": 70, "defect": 10}
    assert {s.split for s in samples if s.label} == {"test"}
    sides: dict[str, set[str]] = {}
    for sample in samples:
        if not sample.label:
            sides.setdefault(sample.path.parent.name, set()).add(sample.split)
    assert all(len(side) == 1 for side in sides.values())
    assert {side for found in sides.values() for side in found} == {"train", "test"}


@pytest.mark.parametrize(
    ("kind", "victim", "named"),
    [("ksdd", "kos03/Part2_label.bmp", "Part2"), ("ksdd2", "train/10002_GT.png", "10002")],
)
def test_an_image_whose_label_is_lost_is_an_error_not_a_good_image(
    kind: str, victim: str, named: str, tmp_path: Path
) -> None:
    root = trees.TREES[kind](tmp_path / kind)
    (root / victim).unlink()
    with pytest.raises(SourceError, match=f"{named}.*has no label"):
        open_dataset(f"{kind}:{root}").samples()


def test_an_unreadable_label_mask_is_an_error(tmp_path: Path) -> None:
    root = trees.ksdd2(tmp_path / "ksdd2")
    (root / "test" / "20001_GT.png").write_bytes(b"")
    with pytest.raises(SourceError, match="no label without this mask"):
        open_dataset(f"ksdd2:{root}").samples()


def test_dagm_believes_labels_txt_when_a_mask_is_lost(tmp_path: Path) -> None:
    root = trees.dagm(tmp_path / "dagm")
    (root / "Class1/Test/Label/0577_label.PNG").unlink()
    dataset = open_dataset(f"dagm:{root}:Class1")
    assert [s.label for s in dataset.samples("test")] == [0, 1, 0]
    assert check_dataset(dataset).missing_masks == ["Class1/Test/0577.PNG"]


def test_magnetic_tile_pairs_photograph_and_mask_of_the_original_upload(tmp_path: Path) -> None:
    root = trees.magnetic_tile(tmp_path / "Magnetic-tile")
    samples = open_dataset(f"magnetic_tile:{root}").samples()
    defects = [s for s in samples if s.label]
    assert [s.defect for s in defects] == ["blowhole", "break", "crack", "fray", "uneven"]
    assert defects[0].path == root / "MT_Blowhole/Imgs/exp1_num_108719.jpg"
    assert defects[0].mask_paths == (root / "MT_Blowhole/Imgs/exp1_num_108719.png",)
    good = Counter(s.split for s in samples if not s.label)
    assert good["train"] + good["test"] == 20
    assert 12 <= good["train"] <= 19


def test_magnetic_tile_in_mvtec_layout_is_read_as_well(tmp_path: Path) -> None:
    root = trees.mvtec(tmp_path / "tiles")
    assert len(open_dataset(f"magnetic_tile:{root}").samples()) == 12


@pytest.mark.parametrize("layout", ["own prefix", "no prefix", "nested lists", "image folder"])
def test_real_iad_finds_its_images_in_each_layout(layout: str, tmp_path: Path) -> None:
    root = trees.realiad(tmp_path / "Real-IAD")
    path = root / "realiad_jsons/audiojack.json"
    if layout == "no prefix":
        content = json.loads(path.read_text())
        del content["meta"]["prefix"]
        path.write_text(json.dumps(content))
    if layout == "nested lists":
        (root / "realiad_jsons/realiad_jsons").mkdir()
        path.rename(root / "realiad_jsons/realiad_jsons/audiojack.json")
    spec = root / "realiad_1024" if layout == "image folder" else root
    samples = open_dataset(f"realiad:{spec}").samples()
    assert [s.path.is_file() for s in samples] == [True] * 6


def test_real_iad_takes_the_large_images_unless_another_folder_is_opened(tmp_path: Path) -> None:
    root = trees.realiad(tmp_path / "Real-IAD")
    shutil.copytree(root / "realiad_1024", root / "realiad_256")
    for spec, name in ((root, "realiad_1024"), (root / "realiad_256", "realiad_256")):
        samples = open_dataset(f"realiad:{spec}").samples()
        assert {s.path.relative_to(root).parts[0] for s in samples} == {name}


@pytest.mark.parametrize(
    ("kind", "file", "content"),
    [
        ("visa", "split_csv/1cls.csv", "object,split\n"),
        ("visa", "split_csv/1cls.csv", "object,split,label,image,mask\na,tset,normal,x.JPG,\n"),
        ("visa", "split_csv/1cls.csv", "object,split,label,image,mask\na,test,odd,x.JPG,\n"),
        ("visa", "split_csv/1cls.csv", "object,split,label,image,mask\na,test,normal,../x,\n"),
        ("realiad", "realiad_jsons/audiojack.json", "{"),
        ("realiad", "realiad_jsons/audiojack.json", "[]"),
        ("realiad", "realiad_jsons/audiojack.json", '{"meta": {}, "train": [1]}'),
        ("realiad", "realiad_jsons/audiojack.json", '{"meta": {}, "train": []}'),
        (
            "realiad",
            "realiad_jsons/audiojack.json",
            '{"meta": {}, "train": [{"image_path": "gone.jpg", "anomaly_class": "OK"}]}',
        ),
        ("deeppcb", "PCBData/test.txt", "/etc/passwd x\n"),
    ],
)
def test_a_damaged_list_is_a_one_line_error_that_names_it(
    kind: str, file: str, content: str, tmp_path: Path
) -> None:
    root = trees.TREES[kind](tmp_path / kind)
    (root / file).write_text(content)
    with pytest.raises(SourceError, match=re.escape(Path(file).name)) as caught:
        open_dataset(f"{kind}:{root}").samples()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "lost"), [("visa", "split_csv"), ("realiad", "realiad_jsons")])
def test_a_set_without_its_lists_is_told_so(kind: str, lost: str, tmp_path: Path) -> None:
    root = trees.TREES[kind](tmp_path / kind)
    (root / lost).rename(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match=f"expected {lost}"):
        open_dataset(f"{kind}:{root}")
