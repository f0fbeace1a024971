"""Tensors of a detector file: a checksum, and what they may be before anything is built of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anomalib_lite.edge.errors import ModelFileError
from anomalib_lite.edge.outputs import Outputs

GALLERY = "gallery"
_SAMPLE = "sample"
_LARGEST_SIDE = 4096
_MOST_SAMPLES = 256


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file; raises `ModelFileError` when they cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(
            f"{path}: its tensors cannot be read ({' '.join(str(error).split())[:200]}); copy the "
            "file again, or fit it again"
        ) from error
    return tensors


def tensors_crc32(tensors: Mapping[str, Tensor]) -> str:
    """Checksum over names, types, shapes and values, eight hex digits."""
    checksum = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        kind = f"{name} {tensor.dtype} {list(tensor.shape)}"
        checksum = zlib.crc32(kind.encode("utf-8", "surrogatepass"), checksum)
        if tensor.numel():
            flat = tensor.reshape(-1).view(torch.uint8)
            checksum = zlib.crc32(flat.numpy().data, checksum)
    return f"{checksum:08x}"


def check_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Raise `ValueError` for tensors that no fit leaves: not finite, or of foreign names."""
    samples = [name for name in tensors if name.startswith(_SAMPLE)]
    if len(samples) > _MOST_SAMPLES:
        raise ValueError(f"it holds {len(samples)} sample frames")
    for name in samples:
        _check_sample(name, tensors[name])
    for name, tensor in tensors.items():
        if name.startswith(("backbone.", "scorer.")):
            _check_finite(name, tensor)
        elif name != GALLERY and name not in samples:
            raise ValueError(f"a tensor is called {name[:60]!r}")


def require_usable(outputs: Outputs) -> None:
    """Raise `ValueError` unless a loaded detector gives a finite score and a map for a frame."""
    score, anomaly_map = outputs.score, outputs.anomaly_map
    if score.shape != (1,) or anomaly_map.ndim != 3 or not anomaly_map.size:
        raise ValueError(
            f"it gives a score {score.shape} and a map {anomaly_map.shape} for a frame"
        )
    if not (np.isfinite(score).all() and np.isfinite(anomaly_map).all()):
        raise ValueError("it gives NaN or infinity for a black frame")


def check_gallery(sizes: Iterable[int], pixels: Tensor) -> None:
    """Raise `ValueError` unless the good images' pictures are as long as they are said to be."""
    total = sum(sizes)
    if pixels.dtype != torch.uint8 or pixels.ndim != 1 or len(pixels) != total:
        raise ValueError(
            f"the good images' pictures are {pixels.dtype} {list(pixels.shape)}, expected {total} "
            "bytes"
        )


def _check_sample(name: str, tensor: Tensor) -> None:
    kinds = (torch.uint8, torch.uint16, torch.float32, torch.float64, torch.float16)
    sides = list(tensor.shape[:2])
    fits = tensor.dtype in kinds and tensor.ndim in (2, 3)
    if not fits or not tensor.numel() or max(sides) > _LARGEST_SIDE:
        raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, expected a small frame")


def _check_finite(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point() or not tensor.numel():
        return
    # The extremes instead of a mask: banks are large, and NaN reaches both of them.
    low, high = torch.aminmax(tensor)
    if not bool(torch.isfinite(low)) or not bool(torch.isfinite(high)):
        raise ValueError(f"{name[:100]} holds NaN or infinity")
