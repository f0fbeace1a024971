"""Arrays inside a JSON document: base64 of a zipped `.npy`, read without trusting its size."""

from __future__ import annotations

import base64
import binascii
import io
import math
import zlib
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from anomalib_lite.edge.errors import ModelFileError

_MOST_BYTES = 64 << 20


def pack_array(values: NDArray[Any]) -> str:
    """An array as text."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values), allow_pickle=False)
    return base64.b64encode(zlib.compress(buffer.getvalue(), 9)).decode("ascii")


def unpack_array(text: str) -> NDArray[Any]:
    """The array of a text of `pack_array`; raises `ModelFileError` for anything else."""
    try:
        return _numbers(inflate(text, _MOST_BYTES))
    except (ValueError, EOFError) as error:
        raise ModelFileError(f"a probe's measured input is damaged ({error})") from error


def inflate(text: str, most: int) -> bytes:
    """What a base64 text of zipped bytes holds; raises `ValueError` when it is more than `most`."""
    try:
        reader = zlib.decompressobj()
        data = reader.decompress(base64.b64decode(text, validate=True), most + 1)
    except (zlib.error, binascii.Error) as error:
        raise ValueError(str(error)) from error
    if len(data) > most:
        raise ValueError(f"it holds more than the {most} bytes that belong there")
    if not reader.eof or reader.unused_data:
        raise ValueError("it ends too early, or is followed by something else")
    return data


def _numbers(data: bytes) -> NDArray[Any]:
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f".npy of version {version}")
    shape, column_first, dtype = npy.read_array_header_1_0(stream)
    if dtype.kind not in "fu" or column_first:
        raise ValueError(f"an array of {dtype}")
    rest = data[stream.tell() :]
    if math.prod(shape) * dtype.itemsize != len(rest) or not 1 <= len(shape) <= 3:
        raise ValueError(f"{len(rest)} bytes for an array of {shape}")
    return np.frombuffer(rest, dtype).reshape(shape)
