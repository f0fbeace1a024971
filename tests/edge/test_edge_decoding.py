"""Decoding: right pixels, or one clear line. Never half a picture."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import UPRIGHT, cmyk_header, encoded, exif_segment, png, with_exif

from anomalib_lite.data.parts import render
from anomalib_lite.edge import FrameError, decode_frame, read_frame

PART = render("flange", seed=0, index=0, size=96).image[:64, :80]
DEEP = PART.astype(np.uint16) * 250
OPAQUE = np.dstack([PART, np.full(PART.shape[:2], 255, np.uint8)])
FILES = {
    "jpeg": encoded(".jpg", PART),
    "progressive jpeg": encoded(".jpg", PART, 2, 1),
    "jpeg with restarts": encoded(".jpg", PART, 4, 2),
    "grey jpeg": encoded(".jpg", PART[:, :, 0]),
    "png": encoded(".png", PART),
    "16-bit png": encoded(".png", DEEP),
    "rgba png": encoded(".png", OPAQUE),
    "grey png": encoded(".png", PART[:, :, 0]),
    "bmp": encoded(".bmp", PART),
    "tiff": encoded(".tiff", PART),
    "webp": encoded(".webp", PART),
    "ppm": encoded(".ppm", PART),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_cut_anywhere_is_refused_or_complete(kind):
    data = FILES[kind]
    whole = decode_frame(data)
    cuts = {*np.linspace(1, len(data) - 1, 40).astype(int), *range(len(data) - 12, len(data))}
    for cut in cuts:
        try:
            frame = decode_frame(data[:cut])
        except FrameError:
            continue
        else:
            np.testing.assert_array_equal(frame, whole, err_msg=f"cut at {cut}")


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(sorted(FILES)), where=st.floats(0, 1), bit=st.integers(0, 7))
def test_a_flipped_bit_never_escapes_as_another_error(kind, where, bit):
    data = bytearray(FILES[kind])
    data[int(where * (len(data) - 1))] ^= 1 << bit
    try:
        frame = decode_frame(bytes(data))
    except FrameError:
        return
    else:
        assert frame.dtype in (np.uint8, np.uint16)


@settings(max_examples=40, deadline=None)
@given(where=st.floats(0, 1), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_png_is_noticed(where, bit):
    data = bytearray(FILES["png"])
    data[8 + int(where * (len(data) - 9))] ^= 1 << bit
    with pytest.raises(FrameError):
        decode_frame(bytes(data))


def test_damaged_pictures_print_nothing_on_stderr():
    program = (
        "import sys\n"
        "from anomalib_lite.edge import FrameError, decode_frame\n"
        "data = sys.stdin.buffer.read()\n"
        "for cut in range(9, len(data), 101):\n"
        "    try:\n"
        "        decode_frame(data[:cut])\n"
        "    except FrameError:\n"
        "        pass\n"
    )
    for kind in ("png", "jpeg"):
        done = subprocess.run(
            [sys.executable, "-c", program], input=FILES[kind], capture_output=True, check=True
        )
        assert done.stderr == b""


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_a_jpeg_is_applied_or_ignored(orientation, order):
    plain = FILES["jpeg"]
    stored = decode_frame(plain)
    turned = with_exif(plain, orientation, order)
    np.testing.assert_array_equal(decode_frame(turned, exif="ignore"), stored)
    np.testing.assert_array_equal(decode_frame(turned), UPRIGHT[orientation](stored))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("grey", [False, True])
def test_exif_orientation_of_a_png_is_applied_or_ignored(orientation, grey):
    pixels = PART[:, :, 0] if grey else PART
    data = png(
        [row.tobytes() for row in pixels],
        width=80,
        height=64,
        depth=8,
        colour=0 if grey else 2,
        extra=[(b"eXIf", exif_segment(orientation))],
    )
    np.testing.assert_array_equal(decode_frame(data, exif="ignore"), pixels)
    np.testing.assert_array_equal(decode_frame(data), UPRIGHT[orientation](pixels))


def test_a_turned_picture_with_transparency_is_refused_in_words():
    holed = OPAQUE.copy()
    holed[:5, :, 3] = 0
    data = png(
        [row.tobytes() for row in holed],
        width=80,
        height=64,
        depth=8,
        colour=6,
        extra=[(b"eXIf", exif_segment(6))],
    )
    with pytest.raises(FrameError, match="transparency and an EXIF rotation"):
        decode_frame(data)
    np.testing.assert_array_equal(decode_frame(data, exif="ignore"), holed)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (FILES["png"], PART),
        (FILES["grey png"], PART[:, :, 0]),
        (FILES["16-bit png"], DEEP),
        (FILES["rgba png"], OPAQUE),
        (FILES["bmp"], PART),
        (FILES["tiff"], PART),
        (FILES["ppm"], PART),
        (
            png(
                [b"\x00\x01", b"\x02\x01"],
                width=2,
                height=2,
                depth=8,
                colour=3,
                extra=[(b"PLTE", bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]))],
            ),
            np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 255, 0]]], np.uint8),
        ),
        (
            png([b"\xa0", b"\x50"], width=4, height=2, depth=1, colour=0),
            np.array([[255, 0, 255, 0], [0, 255, 0, 255]], np.uint8),
        ),
        (
            png([np.array([1, 65535], ">u2").tobytes()], width=2, height=1, depth=16, colour=0),
            np.array([[1, 65535]], np.uint16),
        ),
    ],
    ids=["rgb", "grey", "16 bit", "rgba", "bmp", "tiff", "ppm", "palette", "1 bit", "grey 16"],
)
def test_lossless_files_give_their_exact_pixels(data, expected):
    frame = decode_frame(data)
    assert frame.dtype == expected.dtype
    np.testing.assert_array_equal(frame, expected)


def test_transparency_is_kept_for_the_declaration_to_judge():
    holed = OPAQUE.copy()
    holed[3, 4, 3] = 7
    np.testing.assert_array_equal(decode_frame(encoded(".png", holed)), holed)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"hello, I am a text file", "not a readable image"),
        (b"\x89PNG\r\n\x1a\n", "the PNG is truncated"),
        (b"\xff\xd8", "the JPEG is truncated"),
        (b"\xff\xd8\xff\xd9", "the JPEG is truncated"),
        (b"\x00" * 1000, "not a readable image"),
        (cmyk_header(FILES["jpeg"]), "is a CMYK JPEG; convert it to RGB first"),
        (encoded(".tiff", np.ones((9, 9), np.float32)), "pixels are float32"),
    ],
    ids=["empty", "text", "png head", "jpeg head", "bare jpeg", "zeros", "cmyk", "float"],
)
def test_what_is_no_frame_is_refused_in_one_line(data, message):
    with pytest.raises(FrameError) as caught:
        decode_frame(data, name="odd.png")
    assert str(caught.value).startswith("odd.png: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_is_read_whatever_its_name(tmp_path):
    for name in ("ünïcødé 部品.png", "with space.png", "wrong_suffix.jpg", "emoji🔩.png"):
        path = tmp_path / name
        path.write_bytes(FILES["png"])
        np.testing.assert_array_equal(read_frame(path), PART)
        np.testing.assert_array_equal(read_frame(str(path)), PART)


def test_unreadable_paths_are_named_in_one_line(tmp_path):
    folder = tmp_path / "folder.png"
    folder.mkdir()
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    for path, message in (
        (folder, "Is a directory"),
        (text, "not a readable image"),
        (tmp_path / "missing.png", "No such file"),
        ("nul\0byte.png", "cannot be read"),
    ):
        with pytest.raises(FrameError, match=message) as caught:
            read_frame(path)
        assert "\n" not in str(caught.value)
