"""Files that are still being written, and flipped bytes of a TIFF: each is one clear line."""

import contextlib
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from picture_files import encoded

from anomalib_lite.data.parts import render
from anomalib_lite.edge import FrameError, decode_frame

PART = render("flange", seed=0, index=0, size=160).image


def refused(data, message):
    with pytest.raises(FrameError, match=message) as caught:
        decode_frame(bytes(data), name="part")
    assert "\n" not in str(caught.value)


def raw_files():
    return {
        "bmp": encoded(".bmp", PART),
        "ppm": encoded(".ppm", PART),
        "pgm": encoded(".pgm", PART[:, :, 0].copy()),
        "raw tiff": encoded(".tiff", PART, cv2.IMWRITE_TIFF_COMPRESSION, 1),
    }


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("kind", raw_files())
def test_a_file_that_is_still_being_written_is_refused(kind, share):
    data = raw_files()[kind]
    assert decode_frame(data).shape[:2] == (160, 160)
    if kind == "raw tiff":  # the directory is written last: it is there when all is
        start = struct.unpack_from("<I", data, 4)[0]
        at = int(start * share)
        unfinished = data[:at] + bytes(start - at) + data[start:]
    else:
        at = int(len(data) * share)
        unfinished = data[:at] + bytes(len(data) - at)
    assert len(unfinished) == len(data)
    refused(unfinished, r"the last \d+% of the pixels are zero bytes; .* still being written")


@pytest.mark.parametrize("kind", raw_files())
def test_a_file_whose_rest_is_erased_flash_memory_is_refused(kind):
    """Erased flash memory is ones."""
    data = raw_files()[kind]
    start = struct.unpack_from("<I", data, 4)[0] if kind == "raw tiff" else len(data)
    at = start // 2
    bad = data[:at] + b"\xff" * (start - at) + data[start:]
    refused(bad, r"the last \d+% of the pixels are 0xFF bytes; .* still being written")
    tail = int(start * 0.9)  # a bright strip may be a part's edge
    decode_frame(data[:tail] + b"\xff" * (start - tail) + data[start:])


@pytest.mark.parametrize("compression", [8, 32946])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_flipped_and_overwritten_bytes_of_a_deflated_tiff_are_refused(
    share, predictor, compression
):
    kind, way = cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_PREDICTOR
    data = encoded(".tiff", PART, kind, compression, way, predictor)
    np.testing.assert_array_equal(decode_frame(data), PART)
    at = int(share * struct.unpack_from("<I", data, 4)[0])
    refused(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :], "the TIFF is damaged")
    refused(data[:at] + bytes(range(1, 200)) + data[at + 199 :], "the TIFF is damaged")


def test_a_deflated_strip_that_expands_without_end_costs_no_memory():
    data = bytearray(encoded(".tiff", PART, cv2.IMWRITE_TIFF_COMPRESSION, 8))
    bomb = zlib.compress(bytes(1 << 28), 9)
    start = struct.unpack_from("<I", data, 4)[0]
    for entry in range(start + 2, start + 2 + 12 * data[start], 12):
        tag = struct.unpack_from("<H", data, entry)[0]
        if tag in (273, 279):
            struct.pack_into("<HII", data, entry + 2, 4, 1, len(data) if tag == 273 else len(bomb))
        if tag == 278:
            struct.pack_into("<HII", data, entry + 2, 4, 1, 160)
    tracemalloc.start()
    with contextlib.suppress(FrameError):
        decode_frame(bytes(data) + bomb)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 16 << 20
