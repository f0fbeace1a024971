"""`anomalib-lite simulate`: a set that other commands read, and mistakes in one line."""

import json
import shutil

import cv2
import numpy as np
import pytest

from anomalib_lite.data.adapters import open_dataset
from anomalib_lite.data.parts import render
from anomalib_lite.data.simulate.defect_set import write_defect_set
from anomalib_lite.edge.sources import open_source

SIDE = 96


@pytest.fixture
def cli(run):
    """What a command tells, after checking its status."""

    def call(*arguments, code=0):
        status, out, err = run(*arguments)
        assert status == code, err
        return out + err

    return call


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts") / "good"
    folder.mkdir()
    for index in range(10):
        image = render("tablet", seed=0, index=index, size=SIDE).image
        cv2.imwrite(str(folder / f"{index:02d}.png"), image[:, :, ::-1])
    return folder


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def everything(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_set_holds_what_was_asked_for_and_is_read_as_any_other(cli, good, tmp_path):
    out = tmp_path / "made"
    told = cli("simulate", good, "--out", out, "--n", 14, "--seed", 3)
    assert "8 good to learn, 2 good to test, 14 with a defect" in told
    samples = open_dataset(f"mvtec:{tmp_path}:made").samples("test")
    assert sum(sample.label for sample in samples) == 14
    facts = [json.loads(line) for line in (out / "defects.jsonl").read_text().splitlines()]
    for fact in facts:
        frame, clean = read(out / fact["file"]), read(good / fact["on"])
        mask = read(out / fact["file"].replace("test/", "ground_truth/").replace(".", "_mask."))
        changed = (frame != clean).any(axis=2)
        assert changed.any()
        assert not changed[mask == 0].any()
        assert np.count_nonzero(mask) == fact["pixels"]
    learnt = {(out / "train/good" / name).read_bytes() for name in ("0000.png", "0007.png")}
    tested = {path.read_bytes() for path in (out / "test/good").iterdir()}
    assert not learnt & tested
    assert read(out / "contact_sheet.png").shape[2] == 3


def test_the_same_seed_writes_the_same_bytes(cli, good, tmp_path):
    for name in ("one", "same"):
        cli("simulate", good, "--out", tmp_path / name, "--n", 6, "--seed", 1)
    cli("simulate", good, "--out", tmp_path / "other", "--n", 6, "--seed", 2)
    assert everything(tmp_path / "one") == everything(tmp_path / "same")
    assert everything(tmp_path / "one") != everything(tmp_path / "other")


def test_kind_size_contrast_and_mask_are_kept_to(cli, good, tmp_path):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[30:70, 20:80] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    out = tmp_path / "made"
    asked = ("--kind", "scratch", "--size", "10..20", "--contrast", "30", "--width", "2")
    cli("simulate", good, "--out", out, "--n", 8, *asked, "--object-mask", tmp_path / "mask.png")
    facts = [json.loads(line) for line in (out / "defects.jsonl").read_text().splitlines()]
    assert {fact["kind"] for fact in facts} == {"scratch"}
    assert all(10 <= fact["size"] <= 20 and fact["contrast"] == 30 for fact in facts)
    assert all(fact["width"] == 2 for fact in facts)
    for path in (out / "ground_truth/scratch").iterdir():
        assert not (read(path) & ~mask).any()


def test_perlin_masks_take_a_folder_of_textures(cli, good, tmp_path):
    textures = tmp_path / "textures"
    textures.mkdir()
    cv2.imwrite(str(textures / "red.png"), np.full((9, 9, 3), (0, 0, 255), np.uint8))
    out = tmp_path / "made"
    cli("simulate", good, "--out", out, "--n", 3, "--kind", "perlin", "--textures", textures)
    assert len(list((out / "test/perlin").iterdir())) == 3


def test_mistakes_are_told_in_one_line(cli, good, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for index in range(4):
        (few / f"{index}.png").write_bytes((good / f"{index:02d}.png").read_bytes())
    (tmp_path / "empty").mkdir()
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), np.full((8, 8), 255, np.uint8))
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    spot = ("--kind", "spot")
    for arguments, expected in (
        ((few,), "holds 4 good image(s); give at least 5"),
        ((good, "--textures", tmp_path / "empty"), "holds no image"),
        ((good, *spot, "--object-mask", small), "is 8x8, the images are 96x96"),
        ((good, *spot, "--object-mask", tmp_path / "none.png"), "none.png"),
        ((good, *spot, "--size", "90"), "choose a smaller size"),
        ((good, *spot, "--size", "big"), "write one number"),
        ((good, *spot, "--size", "9..4"), "the smaller one comes first; write 4..9"),
        ((good, *spot, "--contrast", "0"), "choose grey levels of 1 to 255"),
        ((good, "--kind", "spott"), "did you mean spot"),
        ((good, "--kind", "perlin", "--size", "9"), "sizes and contrasts of their own"),
        ((good, "--out", full), "is not empty"),
    ):
        target = () if "--out" in arguments else ("--out", tmp_path / "out")
        told = cli("simulate", *arguments, *target, code=2)
        assert expected in told.replace("\n", " "), (arguments, told)
        assert "Traceback" not in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--size", "40..5"], "size 40..5: the smaller one comes first; write 5..40"),
        (["--size", "0.5"], "size 0.5: choose pixels of 1 or more"),
        (["--contrast", "300"], "contrast 300: choose grey levels of 1 to 255"),
        (["--kind", "spot", "--width", "3"], "width 3: only scratches, cracks and scars have one"),
        (["--kind", "scratch", "--width", "0"], "width 0: choose pixels of 1 or more"),
    ],
)
def test_numbers_out_of_range_are_told_as_they_were_written(cli, good, tmp_path, options, told):
    assert told in cli("simulate", good, "--out", tmp_path / "made", "--n", 2, *options, code=2)
    assert not (tmp_path / "made" / "test").exists()


def test_a_set_is_not_written_among_the_good_images(cli, good):
    told = cli("simulate", good, "--out", good / "made", "--n", 2, code=2)
    assert f"lies in {good}, which would hold pictures with defects" in told
    assert sorted(path.suffix for path in good.rglob("*.*")) == [".png"] * 10


def test_a_file_in_place_of_the_folder_is_told(cli, good, tmp_path):
    (tmp_path / "made").write_text("mine")
    told = cli("simulate", good, "--out", tmp_path / "made", code=2)
    assert "made: is a file, expected a folder to write into" in told
    assert (tmp_path / "made").read_text() == "mine"


def test_a_folder_of_defects_is_not_taken_as_good(cli, good, tmp_path):
    shutil.copytree(good, tmp_path / "ng")
    told = cli("simulate", tmp_path / "ng", "--out", tmp_path / "made", code=2)
    assert "is a folder of defects by its name" in told


def test_a_damaged_picture_is_named_once_and_too_few_are_told(cli, good, tmp_path):
    damaged = tmp_path / "few"
    shutil.copytree(good, damaged)
    (damaged / "03.png").write_bytes(b"nothing")
    told = cli("simulate", damaged, "--out", tmp_path / "made", "--n", 2, code=3)
    assert told.count("03.png") == 1
    for path in sorted(damaged.glob("*.png"))[3:]:
        path.write_bytes(b"nothing")
    told = cli("simulate", damaged, "--out", tmp_path / "few_made", "--n", 2, code=2)
    assert "3 good image(s) could be read, 7 could not" in told
    assert not [path for path in (tmp_path / "few_made").rglob("*") if path.is_file()]


def test_a_set_that_was_interrupted_leaves_nothing_and_can_be_made_again(good, tmp_path):
    def interrupt(done, total):
        if done == total // 2:
            raise KeyboardInterrupt

    out = tmp_path / "made"
    with pytest.raises(KeyboardInterrupt):
        write_defect_set(open_source(good), out, count=4, progress=interrupt)
    assert not any(out.rglob("*"))
    assert write_defect_set(open_source(good), out, count=4).train == 8
