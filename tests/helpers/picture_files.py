"""Picture files written byte by byte, for tests of the decoder."""

import struct
import zlib

import cv2
import numpy as np


def png(rows, *, width, height, depth, colour, extra=()):
    """A PNG from raw scan lines (each without its filter byte); `extra` are (kind, data) chunks."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\x00" + row for row in rows))
    chunks = [(b"IHDR", header), *extra, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*item) for item in chunks)


def encoded(suffix, rgb, *parameters):
    """An RGB, RGBA or grey array as file bytes."""
    if rgb.ndim == 3:
        rgb = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR if rgb.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    done, data = cv2.imencode(suffix, rgb, list(parameters))
    assert done
    return data.tobytes()


def exif_segment(orientation, order="<"):
    """TIFF structure with one entry: the orientation."""
    mark = b"II" if order == "<" else b"MM"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "HIH", 42, 8, 1) + entry + struct.pack(order + "I", 0)


def with_exif(jpeg, orientation, order="<"):
    """The JPEG with an APP1 EXIF segment right after its start marker."""
    body = b"Exif\x00\x00" + exif_segment(orientation, order)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def cmyk_header(jpeg):
    """The JPEG with four components announced in its frame header."""
    start = jpeg.index(b"\xff\xc0")
    return jpeg[: start + 9] + b"\x04" + jpeg[start + 10 :]


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a, 1),
}
"""EXIF orientation -> what turns the stored pixels upright (EXIF 2.32, tag 0x0112)."""
