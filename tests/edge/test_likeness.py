"""Frames of another kind than was fitted are refused; plain ones are judged."""

import numpy as np
import pytest

from anomalib_lite import Detector
from anomalib_lite.edge import FrameError, InputSpec, prepare

GREY = np.arange(40 * 40, dtype=np.uint8).reshape(40, 40)
COLOUR = np.stack([GREY, GREY, GREY], axis=2)
COLOUR[39, 39, 0] ^= 1


@pytest.mark.parametrize(
    "frame",
    [
        GREY,
        GREY[:, :, None],
        np.stack([GREY] * 3, axis=2),
        np.stack([GREY] * 3 + [GREY * 0 + 255], 2),
    ],
)
def test_grey_frames_are_refused_where_colour_was_fitted(frame):
    with pytest.raises(FrameError, match=r"^frame is grey, the model was fitted on colour"):
        prepare(frame, InputSpec(32, 32, coloured=True))
    prepare(frame, InputSpec(32, 32))


@pytest.mark.parametrize(
    "frame", [COLOUR, np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.uint8)]
)
def test_any_colour_and_frames_of_one_value_are_judged(frame):
    prepare(frame, InputSpec(32, 32, coloured=True))


@pytest.mark.parametrize(
    ("grey", "colour", "expected"), [(0, "rgb", True), (1, "rgb", False), (0, "grey", False)]
)
def test_a_fit_notes_whether_all_frames_had_colours(good_frames, tmp_path, grey, colour, expected):
    frames = [*good_frames, *(frame[:, :, 0] for frame in good_frames[:grey])]
    spec = InputSpec(32, 32, colour=colour)
    detector = Detector("mvg", backbone="filters", image_size=spec).fit(frames)
    assert detector.spec.coloured is expected
    loaded = Detector.load(detector.save(tmp_path / "a.safetensors"))
    assert loaded.spec.coloured is expected


@pytest.mark.parametrize(
    ("mask", "frame", "accepted"),
    [
        ((100, 300), (160, 160), False),
        ((300, 100), (160, 160), False),
        ((100, 100), (160, 160), True),
        ((100, 100), (160, 168), False),
        ((120, 160), (960, 1280), True),
    ],
)
def test_a_mask_must_have_the_shape_of_the_frames(mask, frame, accepted):
    inside = np.zeros(mask, np.uint8)
    inside[20:80, 20:80] = 255
    spec = InputSpec(64, 64).with_roi(inside)
    assert InputSpec.from_dict(spec.to_dict()).roi_aspect == spec.roi_aspect
    if accepted:
        prepare(np.zeros(frame, np.uint8), spec)
    else:
        with pytest.raises(FrameError, match="the mask of the region of interest has"):
            prepare(np.zeros(frame, np.uint8), spec)
