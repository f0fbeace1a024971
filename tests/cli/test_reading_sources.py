"""Every command reads the same files, says what it left out, and loses no frame in silence."""

import json
import os
import re
import shutil

import cv2
import numpy as np
import pytest

FIT = (
    "--detector",
    "padim",
    "--backbone",
    "filters",
    "--image-size",
    "64",
    "--set",
    "num_features=16",
)


@pytest.fixture
def fit(run, tmp_path):
    """Fit on a folder; gives status, number of images learnt, everything said."""

    def call(folder, *options):
        status, out, err = run("fit", folder, "--out", tmp_path / "m.safetensors", *FIT, *options)
        learnt = re.search(r"(\d+) good images", out)
        return status, int(learnt[1]) if learnt else 0, out + err

    return call


@pytest.fixture
def score(run, tmp_path, padim_files):
    """Score a source with the detector; gives status, lines, everything said."""

    def call(source, *options):
        out = tmp_path / "out"
        status, said, err = run("score", padim_files[0], source, "--out", out, *options)
        path = out / "results.jsonl"
        lines = (
            [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        )
        return status, lines, said + err

    return call


@pytest.fixture
def lot(good_folder, tmp_path):
    """Twelve pictures in all: three on top, four in a subfolder, five behind a link, and junk."""
    root = tmp_path / "lot[1]"
    places = [root] * 3 + [root / "day1"] * 4 + [tmp_path / "disk2"] * 5
    for picture, place in zip(sorted(good_folder.iterdir()), places, strict=True):
        place.mkdir(exist_ok=True)
        shutil.copy(picture, place)
    os.symlink(tmp_path / "disk2", root / "day2")
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", "day1/$RECYCLE.BIN"):
        (root / name).mkdir()
        shutil.copy(good_folder / "000.png", root / name / "junk.png")
    (root / "notes.txt").write_text("x")
    return root


def test_fit_and_score_read_the_same_files_and_say_so(lot, fit, score):
    status, learnt, said = fit(lot)
    assert (status, learnt) == (0, 12)
    told = "12 pictures, 9 of them in 2 subfolders; left out: "
    assert told in said
    assert "4 hidden or system entries" in said
    assert "1 file not a picture (notes.txt)" in said
    status, lines, said = score(lot)
    assert (status, len(lines)) == (0, 12)
    assert told in said


@pytest.mark.parametrize("command", ["score-pool", "audit"])
def test_pools_read_the_same_files(command, lot, run, tmp_path):
    options = ("--backbone", "filters", "--image-size", "64", "--out", tmp_path / "pool")
    status, _, err = run(command, lot, *options)
    assert status == 0
    assert "12 pictures, 9 of them in 2 subfolders" in err
    assert len((tmp_path / "pool/results.jsonl").read_text().splitlines()) == 12
    status, _, err = run(command, lot, *options, "--no-recursive")
    assert status == 0
    assert "3 pictures; 2 subfolders not read, as asked: day1/, day2/" in err


def test_no_recursive_reads_the_folder_alone_and_says_so(lot, fit, score):
    for status, count, said in (fit(lot, "--no-recursive"), score(lot, "--no-recursive")):
        assert status == 0
        assert (count if isinstance(count, int) else len(count)) == 3
        assert "2 subfolders not read, as asked" in said


def test_a_glob_below_a_folder_with_brackets_matches(lot, score):
    assert len(score(f"{lot}/*.png")[1]) == 3
    assert len(score(f"{lot}/day*/*.png")[1]) == 9
    status, _, said = score(f"{lot}/*.jpg")
    assert status == 2
    assert "matches no image: " in said
    assert "[[]" not in said


def test_pictures_under_another_suffix_or_none_are_learnt(good_folder, fit, tmp_path):
    home = tmp_path / "mixed"
    home.mkdir()
    for index, path in enumerate(sorted(good_folder.iterdir())):
        code = cv2.imencode(".jpg", cv2.imread(str(path)))[1].tobytes()
        (home / f"{index:03d}{('.jfif', '.jpe', '', '.img')[index % 4]}").write_bytes(code)
    assert fit(home)[:2] == (0, 12)


def test_the_first_reasons_are_printed_when_no_image_can_be_used(good_folder, fit, tmp_path):
    home = tmp_path / "deep"
    home.mkdir()
    for path in good_folder.iterdir():
        frame = cv2.imread(str(path), 0).astype(np.uint16) * 16
        cv2.imwrite(str(home / path.name), frame)
    status, learnt, said = fit(home)
    assert (status, learnt) == (2, 0)
    assert "0 usable good image(s) given" in said
    assert re.search(r"12 could not be used: \S+/000.png and 11 more: frame is uint16", said)
    assert "--bit-depth 12" in said
    assert fit(home, "--bit-depth", "12", "--colour", "grey")[0] in (0, 2)


def test_a_subfolder_without_permission_is_an_error_line_and_status_3(lot, fit, score, monkeypatch):
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("day1"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    status, lines, said = score(lot)
    assert status == 3
    assert len(lines) == 9
    assert lines[-1]["frame"].endswith("lot[1]/day1/")
    assert "cannot be listed (Permission denied)" in lines[-1]["error"]
    assert "1 folder unreadable: day1/" in said
    status, learnt, said = fit(lot)
    assert (status, learnt) == (3, 8)
    assert "day1/: cannot be listed (Permission denied)" in said


def test_what_is_no_file_never_hangs_and_is_an_error_line(lot, score):
    os.mkfifo(lot / "pipe.png")
    os.symlink("/dev/zero", lot / "zero.png")
    status, lines, _ = score(lot)
    assert status == 3
    wrong = {line["frame"].rsplit("/", 1)[1]: line["error"] for line in lines if "error" in line}
    assert wrong == {
        "pipe.png": "is a named pipe, not a regular file; it is not opened",
        "zero.png": "is a character device, not a regular file; it is not opened",
    }
    status, _, said = score(lot / "pipe.png")
    assert status == 2
    assert "is a named pipe, expected a folder, a picture or a video" in said


def test_the_largest_picture_is_the_users_choice(lot, fit, score):
    status, lines, _ = score(lot, "--max-megapixels", "0.001")
    assert status == 3
    assert all("more than 0.001 are not read" in line["error"] for line in lines)
    status, _, said = fit(lot, "--max-megapixels", "0.001")
    assert status == 2
    assert "raise --max-megapixels" in said
    assert fit(lot, "--max-megapixels", "-1")[0] == 2


@pytest.fixture
def part_set(good_folder, tmp_path):
    """An MVTec-like set whose masks have annotation tools' endings, in any case."""
    home = tmp_path / "set"
    pictures = sorted(good_folder.glob("*.png"))
    for place in ("train/good", "test/good", "test/dent"):
        (home / place).mkdir(parents=True)
    (home / "ground_truth/dent").mkdir(parents=True)
    for index, path in enumerate(pictures):
        shutil.copy(path, home / ("test/good" if index % 4 == 0 else "train/good") / path.name)
    for index, ending in enumerate(("_GT", "_Mask", "_LABEL", "_seg")):
        frame = cv2.imread(str(pictures[index]))
        mask = np.zeros(frame.shape[:2], np.uint8)
        mask[20:30, 20:30] = 255
        frame[mask > 0] = (10, 250, 10)
        cv2.imwrite(str(home / "test/dent" / f"{index}.png"), frame)
        cv2.imwrite(str(home / "ground_truth/dent" / f"{index}{ending}.PNG"), mask)
    return home


def evaluate(run, home, out, *options):
    status, said, err = run(
        "evaluate", "--data", f"mvtec:{home}", "--out", out, "--detector", "padim",
        "--backbone", "filters", "--image-size", "64", "--seeds", "1", "--set", "num_features=16",
        *options,
    )  # fmt: skip
    return status, said + err


def test_masks_of_any_case_and_ending_give_pixel_figures(run, part_set, tmp_path):
    status, said = evaluate(run, part_set, tmp_path / "ev")
    assert status == 0
    assert "no pixel figures" not in said
    record = json.loads((tmp_path / "ev/metrics.json").read_text())["runs"][0]
    assert 0.5 < record["metrics"]["pixel_auroc"] <= 1
    for mask in (part_set / "ground_truth/dent").iterdir():
        mask.unlink()
    status, said = evaluate(run, part_set, tmp_path / "ev2")
    assert "no pixel figures for" in said
    assert "no test image has a mask" in said


def test_the_limit_of_pictures_holds_for_data_sets_masks_and_regions(run, part_set, fit, tmp_path):
    wide = cv2.imread(str(part_set / "ground_truth/dent/2_LABEL.PNG"), 0)
    cv2.imwrite(str(part_set / "ground_truth/dent/2_LABEL.PNG"), np.tile(wide, (3, 3)))
    pixels = wide.size * 2 / 1e6
    status, said = evaluate(run, part_set, tmp_path / "ev", "--max-megapixels", f"{pixels:.6f}")
    assert status == 3
    assert "raise --max-megapixels" in said
    status, said, _ = run("datasets", f"mvtec:{part_set}", "--max-megapixels", f"{pixels:.6f}")
    assert status == 1
    assert "more than" in said
    cv2.imwrite(str(tmp_path / "roi.png"), np.tile(wide, (3, 3)))
    options = ("--roi", tmp_path / "roi.png", "--max-megapixels", f"{pixels:.6f}")
    status, _, said = fit(part_set / "train/good", *options)
    assert status == 2
    assert "roi.png: is" in said
    assert "raise --max-megapixels" in said
    status, said, err = run("datasets", f"mvtec:{part_set}")
    assert "more than" not in said + err  # the limit ends with its command


def test_a_damaged_jpeg_is_not_learnt(good_folder, fit, tmp_path):
    home = tmp_path / "good"
    shutil.copytree(good_folder, home)
    code = cv2.imencode(".jpg", cv2.imread(str(home / "003.png")))[1].tobytes()
    (home / "zero_tail.jpg").write_bytes(code[: len(code) // 2] + bytes(3000) + b"\xff\xd9")
    (home / "cut.jpg").write_bytes(code[: len(code) // 2] + b"\xff\xd9")
    status, learnt, said = fit(home)
    assert (status, learnt) == (3, 12)
    assert "zero_tail.jpg: the JPEG is damaged" in said
    assert "cut.jpg: the JPEG is damaged" in said


def test_each_page_of_a_tiff_is_judged(good_frames, score, tmp_path):
    home = tmp_path / "stacks"
    home.mkdir()
    cv2.imwritemulti(str(home / "stack.tif"), [frame[:, :, ::-1] for frame in good_frames[:3]])
    status, lines, _ = score(home)
    assert status == 0
    assert [line["frame"].rsplit("/", 1)[1] for line in lines] == [
        f"stack.tif#{page}" for page in (1, 2, 3)
    ]


def test_a_video_that_ends_early_is_an_error_and_status_3(good_frames, fit, score, tmp_path):
    path = tmp_path / "line.mkv"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 25, (96, 96))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no FFV1")
    for frame in good_frames:
        writer.write(frame[:, :, ::-1])
    writer.release()
    assert score(path)[0] == 0
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    status, lines, _ = score(path)
    assert status == 3
    assert "announces 12 frames and delivered" in lines[-1]["error"]
    status, learnt, said = fit(path)
    assert status == 3
    assert 0 < learnt < 12
    assert "announces 12 frames" in said


def test_a_folder_of_good_and_bad_parts_is_not_learnt(good_folder, fit, run, tmp_path):
    home = tmp_path / "parts"
    shutil.copytree(good_folder, home / "good")
    shutil.copytree(good_folder, home / "scratch")
    status, _, said = fit(home)
    assert status == 2
    assert "has the subfolders good, scratch, which are not all good images" in said
    assert "good/*" in said
    assert fit(home / "good")[:2] == (0, 12)
