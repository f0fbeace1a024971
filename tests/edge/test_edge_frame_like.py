"""What people call a frame: one rule for each kind, none of them a guess."""

import io

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anomalib_lite.edge import FrameError, InputSpec, SettingsError, SourceError, read_frame
from anomalib_lite.edge.frame_like import as_frame
from anomalib_lite.edge.source_kinds.items import as_items, open_frames

SPEC = InputSpec(16, 16)
RGB = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
GREY = RGB[:, :, 0]
RGBA = np.dstack([RGB, np.full((5, 7), 255, np.uint8)])
DEEP = GREY.astype(np.uint16) * 200


def torch_order(pixels):
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


class Wrapped:
    """An array of another library, as numpy sees it."""

    def __init__(self, pixels):
        self.pixels = pixels

    def __array__(self, dtype=None, copy=None):
        return self.pixels


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (RGB, RGB),
        (GREY, GREY),
        (DEEP, DEEP),
        (DEEP.astype(">u2"), DEEP),
        (Wrapped(RGB), RGB),
        (torch.from_numpy(GREY), GREY),
        (torch.from_numpy(RGB), RGB),
        (torch_order(RGB), RGB),
        (torch_order(RGBA), RGBA),
        (torch_order(RGB[:, :, :1]), RGB[:, :, :1]),
        (torch_order(RGB[:, :3]), RGB[:, :3]),  # (3, 5, 3): torch's order wins
        (torch_order(RGB).requires_grad_(False), RGB),
        (Image.fromarray(RGB), RGB),
        (Image.fromarray(GREY), GREY),
        (Image.fromarray(RGBA), RGBA),
        (Image.fromarray(DEEP), DEEP),
        (Image.fromarray(GREY > 50), (GREY > 50) * np.uint8(255)),
        (Image.fromarray(GREY).convert("P"), np.dstack([GREY] * 3)),
        (
            Image.fromarray(GREY).convert("LA"),
            np.dstack([GREY] * 3 + [np.full((5, 7), 255, np.uint8)]),
        ),
    ],
    ids=[
        *("rgb", "grey", "16 bits", "other byte order", "array-like", "tensor H W"),
        *("tensor H W C", "tensor C H W", "tensor rgba", "tensor 1 H W", "tensor both"),
        *("tensor", "pil rgb", "pil grey", "pil rgba", "pil 16 bits", "pil bits"),
        *("pil palette", "pil grey alpha"),
    ],
)
def test_a_frame_of_each_kind_is_the_same_pixels(item, expected):
    found = as_frame(item, SPEC)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_encoded_bytes_and_paths_are_decoded(tmp_path):
    data = cv2.imencode(".png", RGB[:, :, ::-1])[1].tobytes()
    path = tmp_path / "x.png"
    path.write_bytes(data)
    for item in (data, bytearray(data), memoryview(data), path, str(path), np.str_(path)):
        np.testing.assert_array_equal(as_frame(item, SPEC), RGB)


@pytest.mark.parametrize("exif", ["apply", "ignore"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_opened_pil_image_is_turned_as_its_file_is(orientation, exif, tmp_path):
    path = tmp_path / "x.jpg"
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(np.kron(RGB, np.ones((8, 8, 1), np.uint8))).save(path, exif=tags, quality=95)
    spec = InputSpec(16, 16, exif=exif)
    from_file = read_frame(path, exif=exif)
    with Image.open(path) as image:
        found = as_frame(image, spec)
    assert found.shape == from_file.shape
    assert np.abs(found.astype(int) - from_file).mean() < 2  # two JPEG decoders


@pytest.mark.parametrize(
    ("dtype", "value_range", "values", "bit_depth", "expected"),
    [
        ("float32", (0, 1), [0, 0.5, 1], 8, [0, 128, 255]),
        ("float64", (-1, 1), [-1, 0, 1], 8, [0, 128, 255]),
        ("float16", (0, 255), [0, 7, 255], 8, [0, 7, 255]),
        ("float32", (0, 1), [0, 0.5, 1], 12, [0, 2048, 4095]),
        ("int32", (0, 4095), [0, 273, 4095], 8, [0, 17, 255]),
        ("int64", (0, 255), [0, 1, 255], 8, [0, 1, 255]),
        ("bool", (0, 1), [0, 1, 1], 8, [0, 255, 255]),
        ("uint8", (0, 1), [0, 1, 1], 8, [0, 255, 255]),
        ("uint16", (0, 1023), [0, 1023, 341], 8, [0, 255, 85]),
        ("bfloat16", (0, 1), [0, 0.5, 1], 8, [0, 128, 255]),
    ],
)
def test_declared_values_become_pixels(dtype, value_range, values, bit_depth, expected):
    spec = InputSpec(16, 16, bit_depth=bit_depth)
    tensor = torch.tensor([values]).to(getattr(torch, dtype))
    items = [tensor] if dtype == "bfloat16" else [tensor, np.array([values], dtype)]
    for item in items:
        found = as_frame(item, spec, value_range)
        assert found.tolist() == [expected]
        assert found.dtype == (np.uint8 if bit_depth == 8 else np.uint16)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=20))
def test_pixels_divided_by_255_come_back_exactly(values):
    pixels = np.array([values], np.uint8)
    for kind in (np.float32, np.float64):
        found = as_frame(pixels.astype(kind) / kind(255), SPEC, (0, 1))
        np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "bool"])
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_values_without_a_range_say_what_to_call(dtype, make):
    with pytest.raises(FrameError, match=r"call predict or fit with value_range=\(0, 1\)"):
        as_frame(make(np.zeros((4, 4), dtype)), SPEC)


@pytest.mark.parametrize(
    ("item", "value_range", "message"),
    [
        (np.float32([[0, 1.5]]), (0, 1), "holds values from 0 to 1.5, outside the declared range"),
        (np.float32([[0, np.nan]]), (0, 1), "holds values from nan to nan, outside"),
        (np.float32([[-0.1]]), (0, 1), "outside the declared range 0 to 1; declare the true"),
        (np.array([["a"]]), None, "frame is <U1, expected numbers"),
        (np.array([["a"]]), (0, 1), "frame is <U1, expected numbers from 0 to 1"),
        (np.zeros((3, 8, 9), np.uint8), None, r"channels first; call frame.transpose\(1, 2, 0\)"),
        (Image.fromarray(RGB).convert("CMYK"), None, r"mode CMYK; call image.convert\('RGB'\)"),
        (Image.fromarray(RGB).convert("HSV"), None, r"mode HSV; call image.convert\('RGB'\)"),
        (Image.fromarray(GREY).convert("F"), None, "frame is float32, and its numbers"),
        (3, None, "expected an array, bytes or a path, a PIL image or a torch tensor, got int"),
        (np.float32(3), None, "got float32"),
        ({"frames": RGB}, None, "got dict"),
    ],
)
def test_what_cannot_be_a_frame_is_one_line(item, value_range, message):
    with pytest.raises(FrameError, match=message) as caught:
        as_frame(item, SPEC, value_range)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value_range", [1, (0,), (0, 1, 2), (1, 0), (0, 0), (0, np.inf), (np.nan, 1), ("a", "b")]
)
def test_a_range_that_is_none_is_refused(value_range):
    with pytest.raises(SettingsError, match=r"value_range is .*; give \(black, white\)"):
        as_frame(np.zeros((4, 4)), SPEC, value_range)


def test_a_damaged_file_behind_a_pil_image_is_a_frame_error(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        buffer, "PNG"
    )
    path = tmp_path / "x.png"
    path.write_bytes(buffer.getvalue()[:2000])
    with Image.open(path) as image, pytest.raises(FrameError, match=r"x\.png: not a readable"):
        as_frame(image, SPEC)


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (RGB, None),
        (np.stack([RGB] * 2), 2),
        (torch_order(RGB), None),
        (torch.stack([torch_order(RGB)] * 2), 2),
        (Image.fromarray(RGB), None),
        ("x.png", None),
        (b"x", None),
        ({"frames": RGB}, None),
        ([RGB, "x.png"], 2),
        ((RGB,), 1),
        ([], 0),
        (np.array(["a.png", "b.png"]), 2),
        (range(3), 3),
        (3, None),
    ],
)
def test_one_frame_and_many_are_told_apart_by_their_kind(given, count):
    found = as_items(given)
    assert (None if found is None else len(found)) == count


def test_a_list_of_frames_may_be_mixed(tmp_path):
    path = tmp_path / "x.png"
    cv2.imwrite(str(path), RGB[:, :, ::-1])
    items = [RGB, path, str(path), torch_order(RGB), Image.fromarray(RGB), path.read_bytes()]
    jobs = list(open_frames(items, SPEC).jobs())
    assert [job.name for job in jobs] == [
        *("frames#000000", str(path), str(path), "frames#000003", "frames#000004"),
        "frames#000005",
    ]
    for job in jobs:
        np.testing.assert_array_equal(job.load(), RGB)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "cannot read frames from int; give a folder"),
        (None, "cannot read frames from NoneType"),
        ({"frames": RGB}, "cannot read frames from dict"),
        ([], "the list of frames is empty"),
        ([1, 2], "must hold only arrays, or only paths"),
        ([[1, 2], [3, 4]], "must hold only arrays, or only paths"),
    ],
)
def test_what_is_no_source_of_frames_is_one_line(source, message):
    with pytest.raises(SourceError, match=message):
        open_frames(source, SPEC)


@pytest.mark.parametrize("one", [RGB, torch_order(RGB), Image.fromarray(RGB)])
def test_one_frame_is_a_source_of_one(one):
    (job,) = open_frames(one, SPEC).jobs()
    np.testing.assert_array_equal(job.load(), RGB)
