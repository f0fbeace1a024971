"""Where pretrained weights come from: explicit file, weights folder, hub; always with a digest."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor

from anomalib_lite.edge.errors import WeightsError
from anomalib_lite.edge.files import sha256_file

WEIGHTS_FOLDER_VARIABLE = "ANOMALIB_LITE_WEIGHTS"


def find_weights(name: str, weights: str | Path | None) -> Path | None:
    """Resolve the weights file of a network, or None when only the hub is left.

    Args:
        name: timm name, e.g. `resnet18`.
        weights: explicit file, or None.

    Raises:
        WeightsError: an explicit file is missing, or is a pickle.
    """
    if weights is not None:
        path = Path(weights)
        if not path.is_file():
            raise WeightsError(f"{path}: no such weights file")
        if path.suffix != ".safetensors":
            raise WeightsError(
                f"{path}: only .safetensors weights are read (pickled files can run code); "
                "convert it with safetensors.torch.save_file"
            )
        return path
    folder = os.environ.get(WEIGHTS_FOLDER_VARIABLE)
    if folder:
        if not Path(folder).is_dir():
            raise WeightsError(f"{WEIGHTS_FOLDER_VARIABLE}={folder}: no such folder")
        path = Path(folder) / f"{name}.safetensors"
        if path.is_file():
            return path
    return None


def read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """Tensors of a `.safetensors` file and its sha256; raises `WeightsError` when unreadable."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path), sha256_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: is not a readable .safetensors file ({error})") from error


@contextmanager
def quick_when_offline() -> Iterator[None]:
    """Within it the model hub is asked only if it answers; its local cache is used regardless.

    Without this, a machine with no network waits nearly a minute for the hub client's retries.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    address = urlparse(constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=3).close()
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def tensors_below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def digest_tensors(tensors: dict[str, Tensor]) -> str:
    """sha256 over names and bytes of tensors, for weights that came without a file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def fit_weights(
    target: torch.nn.Module, state: dict[str, Tensor], *, name: str, origin: str
) -> None:
    """Load `state` into `target`, which may hold only the first part of the full network.

    timm's feature extractors flatten module names (`stages.0` -> `stages_0`), so names are compared
    without separators. Extra tensors (classifier, unused stages) are ignored; every tensor
    that the extractor has must be given.

    Raises:
        WeightsError: tensors are missing or of another shape.
    """
    given = {_plain(key): value for key, value in state.items()}
    wanted = target.state_dict()
    chosen, wrong = {}, []
    for key, value in wanted.items():
        tensor = given.get(_plain(key))
        if tensor is None and key.endswith("num_batches_tracked"):
            tensor = value
        if tensor is None or tensor.shape != value.shape:
            wrong.append(key)
        else:
            chosen[key] = tensor
    if wrong:
        raise WeightsError(
            f"{origin}: does not fit {name}: {len(wrong)} of {len(wanted)} tensors are missing or "
            f"of another shape (first: {wrong[0]}); check that the file is for {name}"
        )
    target.load_state_dict(chosen)


def _plain(key: str) -> str:
    key = key.removeprefix("model.")
    return key.replace(".", "_")
