"""Where frames come from, and what is said when they do not come."""

import shutil

import cv2
import numpy as np
import pytest

from anomalib_lite.edge import FrameError, SourceError, open_source
from anomalib_lite.edge.sources import (
    ArraySource,
    CameraSource,
    FileSource,
    Job,
    VideoSource,
    read_ahead,
)


def write(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 9, 3), value, np.uint8))


def names(source, root):
    return [job.name.removeprefix(f"{root}/") for job in source.jobs()]


@pytest.fixture
def tree(tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.bmp", "sub/deeper/d.tiff"):
        write(tmp_path / name.lower())
    (tmp_path / "a.jpg").rename(tmp_path / "a.JPG")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_bytes(b"x")
    return tmp_path


@pytest.fixture
def video(tmp_path):
    """A motion-JPEG file of six frames, brighter and brighter."""
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (48, 32))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no motion JPEG")
    for level in range(6):
        writer.write(np.full((32, 48, 3), (0, 20, 40 * level), np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(
    ("what", "recursive", "expected"),
    [
        ("", False, ["a.JPG", "b.png"]),
        ("", True, ["a.JPG", "b.png", "sub/c.bmp", "sub/deeper/d.tiff"]),
        ("/sub", False, ["sub/c.bmp"]),
        ("/*.png", False, ["b.png"]),
        ("/**/*", False, ["a.JPG", "b.png", "sub/c.bmp", "sub/deeper/d.tiff"]),
        ("/b.png", False, ["b.png"]),
    ],
)
def test_folders_globs_and_files_in_sorted_order(tree, what, recursive, expected):
    source = open_source(f"{tree}{what}", recursive=recursive)
    assert names(source, tree) == expected
    assert len(source) == len(expected)
    assert source.rereadable
    assert names(source, tree) == expected


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", "no such folder, file or camera; check the path"),
        ("*.png", "matches no image: "),
        ("*.png", "has notes.txt, outer"),
        ("lot[1]/*.png", "for a bracket in a name write [[]"),
        ("outer/*.png", "has empty.d"),
        ("outer/empty.d/*.png", "is empty"),
        ("none/*.png", "there is no folder "),
        ("*.txt", "matches no image; left out: 1 file not a picture (notes.txt)"),
        (".", "holds no image (.avif .bmp "),
        (".", "or such content); left out: 1 file not a picture (notes.txt); 1 subfolders"),
        ("outer/empty.d", "holds no image"),
    ],
)
def test_nothing_to_read_says_what_was_found_and_what_to_do(tmp_path, what, message):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "outer/empty.d").mkdir(parents=True)
    with pytest.raises(SourceError) as caught:
        open_source(tmp_path / what, recursive=False)
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "the list of frames is empty"),
        ((), "the list of frames is empty"),
        ([np.zeros((9, 9), np.uint8), "a.png"], "only arrays, or only paths"),
        (3, "cannot read frames from int; give a folder"),
        (None, "cannot read frames from NoneType"),
    ],
)
def test_what_is_no_source_is_refused(source, message):
    with pytest.raises(SourceError, match=message):
        open_source(source)


def test_arrays_come_in_order_and_twice():
    frames = [np.full((4, 4), value, np.uint8) for value in range(3)]
    source = open_source(frames)
    assert isinstance(source, ArraySource)
    for _ in range(2):
        assert [int(job.load()[0, 0]) for job in source.jobs()] == [0, 1, 2]
    assert names(source, "") == ["arrays#000000", "arrays#000001", "arrays#000002"]


@pytest.mark.parametrize(
    ("array", "frames"), [((4, 4), 1), ((4, 4, 3), 1), ((5, 4, 4, 3), 5), ((1, 4, 4, 3), 1)]
)
def test_one_array_is_a_frame_or_a_stack_of_colour_frames(array, frames):
    assert len(open_source(np.zeros(array, np.uint8))) == frames


def test_a_list_of_paths_keeps_its_order(tree):
    listed = [tree / "b.png", str(tree / "a.JPG")]
    assert names(open_source(listed), tree) == ["b.png", "a.JPG"]


def test_a_source_stays_as_it_is(tree):
    source = FileSource([tree / "b.png"], name="mine")
    assert open_source(source) is source


def test_a_video_gives_every_frame_in_rgb_and_again(video):
    source = open_source(video)
    assert isinstance(source, VideoSource)
    assert len(source) == 6
    for _ in range(2):
        frames = [job.load() for job in source.jobs()]
        assert [frame.shape for frame in frames] == [(32, 48, 3)] * 6
        red = [float(frame[:, :, 0].mean()) for frame in frames]
        np.testing.assert_allclose(red, [0, 40, 80, 120, 160, 200], atol=6)
        assert max(float(frame[:, :, 2].mean()) for frame in frames) < 8


def test_a_broken_video_is_a_source_error(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(SourceError, match=r"broken\.mp4: cannot be opened"):
        open_source(path)


def test_an_absent_camera_is_a_source_error():
    source = open_source("camera:97")
    assert isinstance(source, CameraSource)
    assert not source.rereadable
    assert len(source) == 0
    with pytest.raises(SourceError, match="camera:97: cannot be opened"):
        source.jobs()


def test_a_folder_that_vanishes_midway_costs_only_its_frames(tree):
    source = open_source(tree, recursive=True)
    seen = []
    for index, (name, result) in enumerate(read_ahead(source.jobs(), np.sum, ahead=1)):
        seen.append((name.rsplit("/", 1)[1], isinstance(result, FrameError)))
        if index == 1:
            shutil.rmtree(tree)
    assert seen == [("a.JPG", False), ("b.png", False), ("c.bmp", True), ("d.tiff", True)]


@pytest.mark.parametrize("ahead", [1, 2, 7, 100])
def test_reading_ahead_keeps_order_and_bounds_what_waits(ahead):
    loaded, most = [], 0

    def job(index):
        def load():
            loaded.append(index)
            if index % 3 == 2:
                raise FrameError(f"frame {index}")
            return np.full((1, 1), index)

        return Job(str(index), load)

    taken = []
    for name, result in read_ahead(
        map(job, range(20)), lambda frame: int(frame[0, 0]), ahead=ahead
    ):
        most = max(most, len(loaded) - len(taken))
        taken.append((name, result if isinstance(result, int) else str(result)))
    assert taken == [(str(i), f"frame {i}" if i % 3 == 2 else i) for i in range(20)]
    assert most <= ahead


def test_reading_ahead_stops_when_its_reader_stops():
    asked = []

    def jobs():
        for index in range(1000):
            asked.append(index)
            yield Job(str(index), lambda: np.zeros((1, 1)))

    reader = read_ahead(jobs(), np.sum, ahead=4)
    next(reader)
    reader.close()
    assert len(asked) <= 5
