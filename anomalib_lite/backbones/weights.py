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
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
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


def no_weights(name: str, reason: str) -> str:
    """What to say when neither the weights folder nor the hub has a network.

    Args:
        name: timm name.
        reason: why the hub gave nothing, in a word.
    """
    file, folder = f"{name}.safetensors", os.environ.get(WEIGHTS_FOLDER_VARIABLE)
    if folder:
        where, do = f"{folder} ({WEIGHTS_FOLDER_VARIABLE}) has no {file}", f"put {file} there"
    else:
        where = f"{WEIGHTS_FOLDER_VARIABLE} is not set"
        do = f"set it to a folder that holds {file}"
    return (
        f"no weights for {name}: {where}, and the model hub cannot be reached ({reason}); {do}, "
        "give --weights FILE, or use the backbone 'pdn_edge', whose weights are in the package"
    )


def missing_tensors(target: torch.nn.Module, state: dict[str, Tensor]) -> list[str]:
    """Tensors of `target` that `state` lacks or has in another shape, by name and reason."""
    given = {plain_name(key): value for key, value in state.items()}
    wrong = []
    for key, value in target.state_dict().items():
        tensor = given.get(plain_name(key))
        if tensor is None and not key.endswith("num_batches_tracked"):
            wrong.append(f"{key} is missing")
        elif tensor is not None and tensor.shape != value.shape:
            wrong.append(f"{key} is {_size(tensor)}, not {_size(value)}")
    return wrong


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
    wanted = target.state_dict()
    wrong = missing_tensors(target, state)
    if wrong:
        some = ", ".join(wrong[:3]) + (", …" if len(wrong) > 3 else "")
        raise WeightsError(
            f"{origin}: does not fit {name}: {len(wrong)} of {len(wanted)} tensors are missing or "
            f"of another shape ({some}); check that the file is for {name} and reaches as deep as "
            "the layers that are read"
        )
    given = {plain_name(key): value for key, value in state.items()}
    target.load_state_dict({key: given.get(plain_name(key), wanted[key]) for key in wanted})


def plain_name(key: str) -> str:
    """A tensor's or module's name without separators and wrappers, for comparisons."""
    return key.removeprefix("model.").replace(".", "_")


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"
