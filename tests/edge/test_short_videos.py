"""Videos and cameras that deliver fewer frames than they announce."""

import cv2
import numpy as np
import pytest

from anomalib_lite.edge import FrameError, open_source
from anomalib_lite.edge.sources import CameraSource, VideoSource, read_ahead


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Thirty lossless frames."""
    path = tmp_path_factory.mktemp("video") / "line.mkv"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 25, (96, 96))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no FFV1")
    rng = np.random.default_rng(0)
    for _ in range(30):
        writer.write(rng.integers(0, 255, (96, 96, 3)).astype(np.uint8))
    writer.release()
    return path.read_bytes()


def outcomes(source):
    return [
        str(result) if isinstance(result, FrameError) else "frame"
        for _, result in read_ahead(source.jobs(), np.sum)
    ]


def test_a_whole_video_says_nothing(video, tmp_path):
    path = tmp_path / "line.mkv"
    path.write_bytes(video)
    assert outcomes(open_source(path)) == ["frame"] * 30


@pytest.mark.parametrize("damage", ["cut", "rotten", "zeros"])
def test_frames_that_were_announced_and_never_came_are_an_error(damage, video, tmp_path):
    half = len(video) // 2
    data = {
        "cut": video[: int(len(video) * 0.6)],
        "rotten": video[:half] + np.random.default_rng(1).bytes(4000) + video[half + 4000 :],
        "zeros": video[:half] + bytes(len(video) - half),
    }[damage]
    path = tmp_path / "line.mkv"
    path.write_bytes(data)
    for _ in range(2):
        *frames, last = outcomes(open_source(path))
        assert set(frames) == {"frame"}
        assert 0 < len(frames) < 30
        assert f"announces 30 frames and delivered {len(frames)}: it is cut" in last
        assert f"and {30 - len(frames)} were never seen" in last


class FakeCapture:
    """A camera or file that announces some frames and delivers others."""

    def __init__(self, delivers, announces):
        self.left, self.announces, self.released = delivers, announces, False

    def isOpened(self):  # noqa: N802 (OpenCV's name)
        return True

    def get(self, _):
        return self.announces

    def read(self):
        self.left -= 1
        frame = np.zeros((4, 4, 3), np.uint8)
        return (True, frame) if self.left >= 0 else (False, None)

    def release(self):
        self.released = True


@pytest.mark.parametrize(
    ("asked", "delivers", "lost"), [(5, 5, False), (5, 3, True), (None, 3, True), (2, 9, False)]
)
def test_a_camera_that_stops_is_an_error(asked, delivers, lost, monkeypatch):
    capture = FakeCapture(delivers, 0)
    monkeypatch.setattr(cv2, "VideoCapture", lambda target: capture)
    found = outcomes(CameraSource(0, max_frames=asked))
    frames = min(delivers, asked or delivers)
    assert found[:frames] == ["frame"] * frames
    assert len(found) == frames + lost
    if lost:
        assert f"the camera stopped delivering after {frames} frames" in found[-1]
    assert capture.released


@pytest.mark.parametrize(
    ("announces", "delivers", "lost"), [(3, 3, False), (0, 3, False), (-1, 3, False), (2, 3, False)]
)
def test_containers_that_announce_nothing_or_less_are_believed(
    announces, delivers, lost, monkeypatch
):
    monkeypatch.setattr(cv2, "VideoCapture", lambda target: FakeCapture(delivers, announces))
    assert len(outcomes(VideoSource("x.mp4"))) == delivers + lost
