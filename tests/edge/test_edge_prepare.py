"""The one preparation: what the network sees, and the way back."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anomalib_lite.edge import FrameError, InputSpec, SettingsError, map_to_frame, prepare
from anomalib_lite.edge.prepare import OUTSIDE_ROI_RGB

AREA, LINEAR = cv2.INTER_AREA, cv2.INTER_LINEAR


@pytest.mark.parametrize(
    ("frame_hw", "input_hw", "steps"),
    [
        ((64, 64), (64, 64), []),
        ((128, 128), (64, 64), [((64, 64), AREA)]),
        ((100, 90), (37, 53), [((37, 53), AREA)]),
        ((32, 32), (64, 64), [((64, 64), LINEAR)]),
        ((32, 40), (64, 96), [((64, 96), LINEAR)]),
        ((128, 32), (64, 96), [((64, 32), AREA), ((64, 96), LINEAR)]),
        ((32, 128), (64, 96), [((32, 96), AREA), ((64, 96), LINEAR)]),
        ((64, 128), (64, 96), [((64, 96), AREA)]),
        ((64, 32), (64, 96), [((64, 96), LINEAR)]),
    ],
)
def test_resize_averages_when_shrinking_and_interpolates_when_enlarging(
    rng, frame_hw, input_hw, steps
):
    frame = rng.integers(0, 256, (*frame_hw, 3), np.uint8)
    expected = frame
    for (height, width), how in steps:
        expected = cv2.resize(expected, (width, height), interpolation=how)
    np.testing.assert_array_equal(prepare(frame, InputSpec(*input_hw)), expected)


def test_shrinking_by_two_is_the_rounded_mean_of_each_block():
    frame = np.arange(32 * 32 * 3, dtype=np.uint16).astype(np.uint8).reshape(32, 32, 3)
    blocks = frame.reshape(16, 2, 16, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(prepare(frame, InputSpec(16, 16)) - blocks).max() <= 0.5


GREY = np.full((20, 30), 77, np.uint8)
RGB = np.dstack([np.full((20, 30), value, np.uint8) for value in (200, 100, 50)])
OPAQUE = np.dstack([RGB, np.full((20, 30), 255, np.uint8)])
HOLED = np.dstack([RGB, np.full((20, 30), 254, np.uint8)])
LUMINANCE = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


@pytest.mark.parametrize(
    ("frame", "declared", "pixel"),
    [
        (GREY, {}, (77, 77, 77)),
        (GREY[:, :, None], {}, (77, 77, 77)),
        (RGB, {}, (200, 100, 50)),
        (OPAQUE, {}, (200, 100, 50)),
        (HOLED, {"alpha": "ignore"}, (200, 100, 50)),
        (RGB, {"colour": "grey"}, (LUMINANCE,) * 3),
        (OPAQUE, {"colour": "grey"}, (LUMINANCE,) * 3),
        (GREY, {"colour": "grey"}, (77, 77, 77)),
        (GREY.astype(np.uint16) * 257, {"bit_depth": 16}, (77, 77, 77)),
        (np.full((20, 30), 4095, np.uint16), {"bit_depth": 12}, (255, 255, 255)),
        (np.full((20, 30), 2048, np.uint16), {"bit_depth": 12}, (128, 128, 128)),
        (np.full((20, 30, 3), 1, np.uint16), {"bit_depth": 9}, (0, 0, 0)),
        (np.full((20, 30, 3), 2, np.uint16), {"bit_depth": 9}, (1, 1, 1)),
        (OPAQUE.astype(np.uint16) * 257, {"bit_depth": 16}, (200, 100, 50)),
    ],
)
def test_colour_depth_and_alpha_follow_the_declaration(frame, declared, pixel):
    prepared = prepare(frame, InputSpec(16, 24, **declared))
    assert prepared.shape == (16, 24, 3)
    assert prepared.dtype == np.uint8
    assert prepared.flags.c_contiguous
    assert (prepared == pixel).all()


@pytest.mark.parametrize(
    ("frame", "declared", "found", "advice"),
    [
        (GREY.astype(np.uint16), {}, "frame is uint16", "--bit-depth 12"),
        (GREY / 255, {}, "frame is float64", "declare the bit depth"),
        (GREY > 3, {}, "frame is bool", "declare the bit depth"),
        (GREY.astype(">u2"), {"bit_depth": 16}, "frame is >u2", "16-bit"),
        (GREY, {"bit_depth": 12}, "frame is uint8", "12-bit"),
        (np.full((9, 9), 4096, np.uint16), {"bit_depth": 12}, "4096", "true bit depth"),
        (HOLED, {}, "transparent", "--alpha ignore"),
        (np.zeros((9, 9, 2), np.uint8), {}, "(9, 9, 2)", "expected (H, W)"),
        (np.zeros((9, 9, 5), np.uint8), {}, "(9, 9, 5)", "expected (H, W)"),
        (np.zeros((2, 9, 9, 3), np.uint8), {}, "(2, 9, 9, 3)", "expected (H, W)"),
        (np.zeros(9, np.uint8), {}, "(9,)", "expected (H, W)"),
        (np.zeros((0, 9), np.uint8), {}, "(0, 9)", "no pixel"),
        (np.zeros((9, 0, 3), np.uint8), {}, "(9, 0, 3)", "no pixel"),
        ([[1, 2]], {}, "list", "numpy array"),
        (None, {}, "NoneType", "numpy array"),
    ],
)
def test_a_frame_that_is_not_as_declared_is_refused_in_one_line(frame, declared, found, advice):
    with pytest.raises(FrameError) as caught:
        prepare(frame, InputSpec(16, 16, **declared))
    message = str(caught.value)
    assert found in message
    assert advice in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 15}, "input height is 15 px; choose 16 to 4096"),
        ({"width": 4097}, "input width is 4097 px; choose 16 to 4096"),
        ({"bit_depth": 7}, "bit depth is 7; choose 8 to 16"),
        ({"bit_depth": 17}, "bit depth is 17; choose 8 to 16"),
        ({"colour": "bgr"}, "colour is 'bgr'; choose one of rgb, grey"),
        ({"alpha": "drop"}, "alpha is 'drop'; choose one of opaque, ignore"),
        ({"exif": True}, "exif is True; choose one of apply, ignore"),
        ({"roi": np.ones((3, 3), bool)}, "region of interest is (3, 3), input is (256, 256)"),
    ],
)
def test_a_wrong_declaration_says_what_to_choose(arguments, message):
    with pytest.raises(SettingsError) as caught:
        InputSpec(**arguments)
    assert str(caught.value) == message


def test_an_empty_region_of_interest_is_refused():
    with pytest.raises(SettingsError, match="keeps no pixel"):
        InputSpec(16, 16).with_roi(np.zeros((30, 30), np.uint8))


def test_a_full_region_of_interest_is_none():
    assert InputSpec(16, 16).with_roi(np.ones((30, 30), np.uint8)).roi is None


@pytest.mark.parametrize("view", ["mirrored", "swapped channels", "strided", "read-only", "slice"])
def test_unusual_memory_layouts_give_the_same_pixels(rng, view):
    base = rng.integers(0, 256, (50, 70, 3), np.uint8)
    frame = {
        "mirrored": base[:, ::-1],
        "swapped channels": base[:, :, ::-1],
        "strided": base[::2, ::3],
        "read-only": np.broadcast_to(base[:1], (40, 70, 3)),
        "slice": base[:, :, 1],
    }[view]
    spec = InputSpec(32, 32)
    np.testing.assert_array_equal(prepare(frame, spec), prepare(np.array(frame, order="C"), spec))


frame_sides = st.integers(1, 60)


@settings(max_examples=40, deadline=None)
@given(
    frame_hw=st.tuples(frame_sides, frame_sides),
    input_hw=st.tuples(st.integers(16, 48), st.integers(16, 48)),
    mask_seed=st.integers(0, 10_000),
)
def test_pixels_outside_the_region_never_reach_the_network(frame_hw, input_hw, mask_seed):
    rng = np.random.default_rng(mask_seed)
    mask = np.zeros(frame_hw, np.uint8)
    top, left = rng.integers(0, frame_hw[0]), rng.integers(0, frame_hw[1])
    mask[top:, left:] = 255
    try:
        spec = InputSpec(*input_hw).with_roi(mask)
    except SettingsError:
        return
    frame = rng.integers(0, 256, (*frame_hw, 3), np.uint8)
    other = np.where(mask[:, :, None] > 0, frame, rng.integers(0, 256, frame.shape, np.uint8))
    prepared = prepare(frame, spec)
    np.testing.assert_array_equal(prepared, prepare(other, spec))
    if spec.roi is not None:
        assert (prepared[~spec.roi] == OUTSIDE_ROI_RGB).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, bool, "colour", "rgba"])
def test_masks_of_any_kind_mark_what_counts(kind):
    inside = np.zeros((32, 32), bool)
    inside[8:24, 8:24] = True
    if kind == "colour":
        mask = np.zeros((32, 32, 3), np.uint8)
        mask[inside] = (0, 0, 1)
    elif kind == "rgba":
        mask = np.full((32, 32, 4), 255, np.uint8)
        mask[~inside, :3] = 0
    else:
        mask = inside.astype(kind)
    np.testing.assert_array_equal(InputSpec(32, 32).with_roi(mask).roi, inside)


@st.composite
def specs(draw):
    size = draw(st.tuples(st.integers(16, 40), st.integers(16, 40)))
    roi = draw(st.none() | hnp.arrays(bool, size))
    return InputSpec(
        *size,
        colour=draw(st.sampled_from(["rgb", "grey"])),
        bit_depth=draw(st.integers(8, 16)),
        alpha=draw(st.sampled_from(["opaque", "ignore"])),
        exif=draw(st.sampled_from(["apply", "ignore"])),
        roi=roi,
    )


@settings(max_examples=30, deadline=None)
@given(spec=specs())
def test_a_declaration_survives_its_dictionary(spec):
    again = InputSpec.from_dict(spec.to_dict())
    assert again.to_dict() == spec.to_dict()
    assert again.size_hw == spec.size_hw
    if spec.roi is None:
        assert again.roi is None
    else:
        np.testing.assert_array_equal(again.roi, spec.roi)


@pytest.mark.parametrize(
    "damage",
    [
        {"roi": "AAAA"},
        {"roi": "not base64 \x00"},
        {"roi": InputSpec(16, 16).with_roi(np.eye(16)).to_dict()["roi"], "height": 64},
        {"roi": None},
        {"height": "x"},
        {"height": None},
        {"width": 3},
        {"colour": "pink"},
    ],
)
def test_a_damaged_declaration_raises_what_readers_expect(damage):
    fields = {**InputSpec(16, 16).to_dict(), **damage}
    with pytest.raises((KeyError, TypeError, ValueError, SettingsError)):
        InputSpec.from_dict(fields)


@settings(max_examples=30, deadline=None)
@given(
    frame_hw=st.tuples(frame_sides, frame_sides),
    map_hw=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    level=st.floats(-5, 5, width=32),
)
def test_a_constant_map_stays_constant_in_frame_coordinates(frame_hw, map_hw, level):
    back = map_to_frame(np.full(map_hw, level, np.float32), frame_hw, InputSpec(16, 16))
    assert back.shape == frame_hw
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, level, rtol=1e-5, atol=1e-6)


def test_a_map_of_the_frames_size_comes_back_unchanged(rng):
    anomaly_map = rng.random((24, 36), np.float32)
    np.testing.assert_array_equal(
        map_to_frame(anomaly_map, (24, 36), InputSpec(16, 16)), anomaly_map
    )


def test_a_map_is_zero_outside_the_region_in_frame_coordinates():
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 1
    spec = InputSpec(32, 32).with_roi(mask)
    back = map_to_frame(np.ones((32, 32), np.float32), (64, 64), spec)
    np.testing.assert_array_equal(back, mask.astype(np.float32))


@pytest.mark.parametrize(
    ("corner", "scale"), list(itertools.product([(0, 0), (0, 1), (1, 0), (1, 1)], [2, 4]))
)
def test_a_peak_lands_on_the_frame_pixels_that_made_it(corner, scale):
    """A bright block in the frame, prepared and mapped back, peaks inside the same block."""
    side = 16 * scale
    frame = np.zeros((side, side, 3), np.uint8)
    top, left = corner[0] * (side - 2 * scale), corner[1] * (side - 2 * scale)
    frame[top : top + 2 * scale, left : left + 2 * scale] = 255
    prepared = prepare(frame, InputSpec(16, 16))
    back = map_to_frame(prepared[:, :, 0].astype(np.float32), (side, side), InputSpec(16, 16))
    row, column = np.unravel_index(back.argmax(), back.shape)
    assert top <= row < top + 2 * scale
    assert left <= column < left + 2 * scale
