"""The one listing: which files are pictures, which folders are entered, and what is said."""

import os
import shutil
import socket

import cv2
import numpy as np
import pytest

from anomalib_lite import Detector
from anomalib_lite.edge import SourceError, open_source
from anomalib_lite.edge.pictures.names import is_junk, is_picture
from anomalib_lite.edge.source_kinds.globbing import list_glob
from anomalib_lite.edge.source_kinds.listing import AGAIN, Listing, list_pictures
from anomalib_lite.edge.sources import open_good_images

PNG = cv2.imencode(".png", np.zeros((4, 5, 3), np.uint8))[1].tobytes()
JPEG = cv2.imencode(".jpg", np.zeros((4, 5, 3), np.uint8))[1].tobytes()


def put(path, data=PNG):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def below(listing):
    return [path.relative_to(listing.root).as_posix() for path in listing.files]


@pytest.mark.parametrize(
    "name",
    [
        ".ipynb_checkpoints",
        "@eaDir",
        "__MACOSX",
        ".Trash-1000",
        ".thumbnails",
        "$RECYCLE.BIN",
        "System Volume Information",
        "#recycle",
        "lost+found",
        "@Recycle",
        ".git",
        "__pycache__",
    ],
)
def test_folders_of_desktops_notebooks_and_storage_boxes_are_left_out(name, tmp_path):
    put(tmp_path / "a.png")
    put(tmp_path / name / "b.png")
    put(tmp_path / "day1" / name / "deep" / "c.png")
    listing = list_pictures(tmp_path)
    assert below(listing) == ["a.png"]
    assert listing.explain() == (
        f"1 picture; left out: 2 hidden or system entries ({name}, day1/{name})"
    )


@pytest.mark.parametrize("name", ["._a.png", ".hidden.png", "Thumbs.db", "desktop.ini", "a.png~"])
def test_files_of_desktops_are_left_out(name, tmp_path):
    put(tmp_path / "a.png")
    put(tmp_path / name)
    assert is_junk(name)
    assert below(list_pictures(tmp_path)) == ["a.png"]


def test_a_hidden_folder_that_is_named_itself_is_read(tmp_path):
    put(tmp_path / ".cache" / "a.png")
    assert below(list_pictures(tmp_path / ".cache")) == ["a.png"]


@pytest.mark.parametrize(
    "suffix", [".PNG", ".Tif", ".JPeG", ".jfif", ".jpe", ".JP2", ".pbm", ".webp"]
)
def test_suffixes_count_in_any_case_without_opening_the_file(suffix, tmp_path):
    put(tmp_path / f"a{suffix}", b"anything")
    assert below(list_pictures(tmp_path)) == [f"a{suffix}"]


@pytest.mark.parametrize(
    ("name", "data", "picture"),
    [
        ("000123", JPEG, True),
        ("frame.img", PNG, True),
        ("cam.dat", cv2.imencode(".tiff", np.zeros((4, 5), np.uint8))[1].tobytes(), True),
        ("cam.0001", cv2.imencode(".pgm", np.zeros((4, 5), np.uint8))[1].tobytes(), True),
        ("cam.bin", cv2.imencode(".bmp", np.zeros((4, 5), np.uint8))[1].tobytes(), True),
        ("notes", b"P2 is the second page of this text", False),
        ("BM.bin", b"BM, and then no bitmap at all follows here", False),
        ("empty", b"", False),
        ("notes.txt", JPEG, False),
    ],
)
def test_unknown_suffixes_are_judged_by_content(name, data, picture, tmp_path):
    path = put(tmp_path / name, data)
    assert is_picture(path) == picture
    listing = list_pictures(tmp_path)
    assert below(listing) == ([name] if picture else [])
    if not picture:
        assert listing.explain() == f"0 pictures; left out: 1 file not a picture ({name})"


def test_what_is_left_out_is_counted_by_kind(tmp_path):
    put(tmp_path / "a.png")
    for index in range(12):
        put(tmp_path / f"{index:02d}.txt", b"text")
    put(tmp_path / "b.png.part")
    put(tmp_path / "line.MP4", b"video")
    assert list_pictures(tmp_path).explain() == (
        "1 picture; left out: 12 files not pictures (00.txt, 01.txt, 02.txt and 9 more), "
        "1 unfinished or backup file (b.png.part), 1 video, read only when named (line.MP4)"
    )


def test_subfolders_are_read_and_said_or_left_and_said(tmp_path):
    for name in ("b.png", "day1/a.png", "day2/x/a.png"):
        put(tmp_path / name)
    whole = list_pictures(tmp_path)
    assert below(whole) == ["b.png", "day1/a.png", "day2/x/a.png"]
    assert whole.explain() == "3 pictures, 2 of them in 2 subfolders"
    top = list_pictures(tmp_path, recursive=False)
    assert below(top) == ["b.png"]
    assert top.explain() == "1 picture; 2 subfolders not read, as asked: day1/, day2/"


def test_linked_subfolders_are_read_once_whichever_way_leads_to_them(tmp_path):
    put(tmp_path / "elsewhere" / "a.png")
    root = tmp_path / "frames"
    put(root / "real" / "b.png")
    os.symlink(tmp_path / "elsewhere", root / "day1")
    os.symlink(tmp_path / "elsewhere", root / "day2")
    os.symlink("real", root / "again")
    os.symlink("..", root / "real" / "up")
    os.symlink(root, root / "self")
    listing = list_pictures(root)
    assert below(listing) == ["day1/a.png", "real/b.png"]
    assert len(listing.left_out[AGAIN]) == 4


def test_a_link_to_a_listed_picture_counts_once_and_one_to_another_counts(tmp_path):
    put(tmp_path / "b.png")
    other = put(tmp_path.parent / f"{tmp_path.name}-other" / "c.png")
    os.symlink("b.png", tmp_path / "a_latest.png")
    os.symlink(other, tmp_path / "far.png")
    os.symlink(tmp_path / "nowhere.png", tmp_path / "gone.png")
    listing = list_pictures(tmp_path)
    assert below(listing) == ["b.png", "far.png", "gone.png"]
    assert "1 link to a picture listed already (a_latest.png)" in listing.explain()


def test_a_subfolder_without_permission_is_told_and_is_one_lost_frame(tmp_path, monkeypatch):
    put(tmp_path / "cam1" / "a.png")
    put(tmp_path / "cam2" / "b.png")
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("cam2"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert list_pictures(tmp_path).explain() == (
        "1 picture, 1 of them in 1 subfolder; 1 folder unreadable: cam2/"
    )
    source = open_source(tmp_path)
    jobs = list(source.jobs())
    assert len(source) == 2
    assert jobs[0].load().shape == (4, 5, 3)
    with pytest.raises(Exception, match=r"cam2/: cannot be listed \(Permission denied\); nothing"):
        jobs[1].load()
    with pytest.raises(SourceError, match="Permission denied"):
        list_pictures(tmp_path / "cam2")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("lot[1]/*.png", ["lot[1]/a.png", "lot[1]/b.png"]),
        ("lot[[]1]/*.png", ["lot[1]/a.png", "lot[1]/b.png"]),
        ("lot[12]/*.png", ["lot1/c.png"]),
        ("lot[1]/sub[x]/*", ["lot[1]/sub[x]/d.png"]),
        ("lot[1]/s*", ["lot[1]/sub[x]/d.png"]),
        ("*/a.png", ["lot[1]/a.png"]),
        ("**/*.png", ["lot1/c.png", "lot[1]/a.png", "lot[1]/b.png", "lot[1]/sub[x]/d.png"]),
        ("lot[1]/[ab].png", ["lot[1]/a.png", "lot[1]/b.png"]),
    ],
)
def test_globs_take_existing_folders_literally_and_the_rest_as_patterns(
    pattern, expected, tmp_path
):
    for name in ("lot[1]/a.png", "lot[1]/b.png", "lot[1]/sub[x]/d.png", "lot1/c.png"):
        put(tmp_path / name)
    put(tmp_path / "lot[1]" / "notes.txt", b"text")
    put(tmp_path / "lot[1]" / ".ipynb_checkpoints" / "a.png")
    files = list_glob(f"{tmp_path}/{pattern}").files
    assert [path.relative_to(tmp_path).as_posix() for path in files] == expected


def test_a_relative_glob_and_a_circle_of_links_give_each_picture_once(tmp_path, monkeypatch):
    put(tmp_path / "day" / "a.png")
    os.symlink("..", tmp_path / "day" / "up")
    monkeypatch.chdir(tmp_path)
    assert [str(path) for path in list_glob("**/*.png").files] == ["day/a.png"]


def test_special_files_are_lost_pictures_or_counted_and_never_opened(tmp_path):
    put(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    os.symlink("/dev/zero", tmp_path / "zero.png")
    os.symlink("/dev/zero", tmp_path / "zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        listing = list_pictures(tmp_path)
    assert below(listing) == ["a.png", "pipe.png", "zero.png"]
    assert "3 entries not regular files (pipe, s, zero)" in listing.explain()


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["good/a.png", "scratch/b.png"], True),
        (["good/a.png", "Bad/b.png"], True),
        (["a.png", "test/b.png"], True),
        (["a.png", "ground_truth/b.png"], True),
        (["train/good/a.png", "test/good/a.png"], True),
        (["flange/train/good/a.png", "flange/test/good/a.png"], True),
        (["day1/good/a.png", "day1/scratch/a.png", "day2/good/a.png"], True),
        (["day1/a.png", "day2/late/ng/a.png"], True),
        (["day1/good/a.png", "day2/good/a.png"], False),
        (["flange/train/good/a.png", "weave/train/good/b.png"], False),
        (["good/a.png"], False),
        (["train/good/a.png"], False),
        (["day1/a.png", "day2/b.png"], False),
        (["a.png", "day2/b.png"], False),
    ],
)
def test_a_folder_whose_subfolders_are_not_all_good_is_not_learnt(names, refused, tmp_path):
    for name in names:
        put(tmp_path / name)
    assert len(open_source(tmp_path)) == len(names)
    if not refused:
        assert len(open_good_images(tmp_path)) == len(names)
        return
    with pytest.raises(SourceError, match="not all good images by their names; name the folder"):
        open_good_images(tmp_path)
    if names[0].startswith("good"):
        assert len(open_good_images(tmp_path / "good")) == 1
        assert len(open_good_images(f"{tmp_path}/good/*")) == 1


def test_what_to_write_instead_of_a_deep_folder_is_a_pattern_that_works(tmp_path):
    for name in ("day1/good/a.png", "day1/scratch/a.png", "day2/good/b.png"):
        put(tmp_path / name)
    with pytest.raises(SourceError, match="day1/good, day1/scratch") as told:
        open_good_images(tmp_path)
    pattern = str(told.value).split("such as '")[1].rstrip("'")
    assert len(open_good_images(pattern)) == 2


@pytest.mark.parametrize("name", ["part.onnx", "part.safetensors"])
def test_a_model_file_given_for_pictures_is_told_as_one(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError, match=f"{name}: is a model file, expected pictures"):
        open_source(str(tmp_path / name))


def test_a_plain_folder_has_nothing_to_say(tmp_path):
    put(tmp_path / "a.png")
    listing = list_pictures(tmp_path)
    assert not listing.remarkable
    assert listing == Listing(tmp_path, [tmp_path / "a.png"])


@pytest.mark.parametrize("results", ["results.jsonl", "results.jsonl.part"])
@pytest.mark.parametrize("out", ["", "out", "out/monday"])
@pytest.mark.parametrize("drawn", ["heatmaps", "explanations"])
def test_what_an_earlier_run_drew_is_never_read_as_input(tmp_path, results, out, drawn):
    """`score part.onnx frames --out frames/out --heatmaps`, twice."""
    put(tmp_path / "0.png")
    put(tmp_path / out / drawn / "0.png.png")
    (tmp_path / out / results).write_text("")
    found = list_pictures(tmp_path)
    assert found.files == [tmp_path / "0.png"]
    assert "1 picture drawn by an earlier run" in found.explain()
    source = open_source(str(tmp_path / "**" / "*.png"))
    assert [os.path.basename(job.name) for job in source.jobs()] == ["0.png"]


def test_a_folder_of_that_name_without_results_or_named_itself_is_read(tmp_path):
    put(tmp_path / "heatmaps" / "0.png")
    assert len(list_pictures(tmp_path).files) == 1
    (tmp_path / "results.jsonl").write_text("")
    assert len(list_pictures(tmp_path).files) == 0
    assert len(list_pictures(tmp_path / "heatmaps").files) == 1


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (("gut", "schlecht"), True),
        (("io", "n.io"), True),
        (("bon", "mauvais"), True),
        (("a", "Ausschuss"), True),
        (("a", "defect_types"), True),
        (("a", "NG-2024"), True),
        (("a", "bad parts"), True),
        (("a", "Fail"), True),
        (("a", "rejected_by_hand"), True),
        (("良品", "不良品"), True),
        (("conforme", "non-conforme"), True),
        (("bueno", "defectuoso"), True),
        (("buoni", "scarti"), True),
        (("a", "not good"), True),
        (("no_defects", "defect-free"), False),
        (("good", "a"), True),
        (("badge", "failsafe"), False),
        (("monday", "tuesday"), False),
        (("gut",), False),
    ],
)
def test_subfolders_that_name_what_is_bad_are_told_in_other_languages_too(tmp_path, folders, told):
    for name in folders:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(b"")
    assert list_pictures(tmp_path).labels() == (sorted(folders) if told else [])


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("ng", True),
        ("Bad parts", True),
        ("不良品", True),
        ("scarti", True),
        ("not_ok", True),
        ("good", False),
        ("defect_free", False),
        ("test", False),
        ("line 3", False),
        ("defect_detection", False),
    ],
)
def test_a_folder_of_defects_by_its_name_is_not_learnt(good_folder, tmp_path, name, refused):
    folder = tmp_path / name
    shutil.copytree(good_folder, folder)
    detector = Detector("mvg", backbone="filters", image_size=32)
    if refused:
        with pytest.raises(SourceError, match="is a folder of defects by its name"):
            detector.fit(folder)
        detector.fit(f"{folder}/*")
    detector.fit(good_folder if refused else folder)
