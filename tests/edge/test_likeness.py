"""Frames of another kind than was fitted are refused; plain ones are judged."""

import numpy as np
import pytest

from anomalib_lite import Detector
from anomalib_lite.edge import EdgeModel, FrameError, InputSpec, SettingsError, prepare

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


VIVID = np.zeros((64, 64, 3), np.uint8)
VIVID[..., 0], VIVID[..., 2] = 200, 40
CODEC = np.stack([GREY, GREY, np.maximum(GREY, 3) - 3], axis=2)


@pytest.mark.parametrize(
    ("frame", "accepted"),
    [
        (GREY, True),
        (np.stack([GREY] * 3, 2), True),
        (CODEC, True),
        (VIVID, False),
        (np.concatenate([VIVID, VIVID[..., :1] * 0 + 255], axis=2), False),
    ],
)
def test_coloured_frames_are_refused_where_grey_was_fitted(frame, accepted):
    spec = InputSpec(32, 32, monochrome=True)
    assert InputSpec.from_dict(spec.to_dict()).monochrome
    if accepted:
        prepare(frame, spec)
    else:
        with pytest.raises(FrameError, match=r"^frame has colours, the model was fitted on grey"):
            prepare(frame, spec)
        prepare(frame, InputSpec(32, 32))


@pytest.mark.parametrize(
    ("frame", "coloured", "monochrome"),
    [(GREY, False, True), (VIVID, True, False), (CODEC, False, False)],
)
def test_a_fit_notes_what_all_frames_are(frame, coloured, monochrome):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 40, (8, *frame.shape[:2]), np.uint8)
    frames = [frame // 2 + (n if frame.ndim == 2 else n[:, :, None]) for n in noise]
    spec = Detector("mvg", backbone="filters", image_size=32).fit(frames).spec
    assert (spec.coloured, spec.monochrome) == (coloured, monochrome)


@pytest.mark.parametrize(
    ("mask_hw", "frame_hw", "size", "accepted"),
    [
        ((64, 64), (64, 64), 256, True),
        ((256, 256), (64, 64), 256, False),
        ((32, 32), (64, 64), 256, False),
        ((512, 512), (64, 64), 64, True),
        ((512, 512), (300, 300), 256, True),
        ((64, 64), (255, 255), 256, False),
    ],
)
def test_an_enlarged_frame_must_be_as_large_as_the_mask(mask_hw, frame_hw, size, accepted):
    inside = np.zeros(mask_hw, np.uint8)
    inside[: mask_hw[0] // 2] = 255
    spec = InputSpec(size, size).with_roi(inside)
    assert InputSpec.from_dict(spec.to_dict()).roi_hw == mask_hw
    frame = np.full(frame_hw, 90, np.uint8)
    if not accepted:
        with pytest.raises(FrameError, match=r"is enlarged to .* draw the mask on a frame"):
            prepare(frame, spec)
        return
    changed = frame.copy()
    changed[-(-frame_hw[0] // 2) :] = 255
    assert np.array_equal(prepare(frame, spec), prepare(changed, spec))


def test_probes_of_a_model_with_a_small_mask_are_computed(good_frames, tmp_path):
    mask = np.zeros(good_frames[0].shape[:2], np.uint8)
    mask[8:40, 8:40] = 255
    spec = InputSpec(128, 128).with_roi(mask)
    detector = Detector("mvg", backbone="filters", image_size=spec).fit(good_frames)
    edge = detector.export(tmp_path / "m.onnx")
    assert EdgeModel(tmp_path / "m.onnx").spec.roi_hw == mask.shape
    assert edge is not None


@pytest.mark.parametrize("clear", [0, 255])
def test_a_mask_drawn_in_transparency_is_refused(clear):
    mask = np.zeros((64, 64, 4), np.uint8)
    mask[..., :3], mask[..., 3] = 255 - clear, 255
    mask[8:40, 8:40, 3] = 0
    with pytest.raises(SettingsError, match="partly transparent"):
        InputSpec(32, 32).with_roi(mask)
    mask[..., 3] = 255
    mask[8:40, 8:40, :3] = 255
    InputSpec(32, 32).with_roi(mask)
