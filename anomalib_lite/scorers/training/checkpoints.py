"""Checkpoints of a training: safetensors with a JSON header, written atomically, never a pickle."""

from __future__ import annotations

import errno
import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anomalib_lite.backbones.weights import tensors_below
from anomalib_lite.edge.errors import FitError
from anomalib_lite.edge.files import atomic_path, remove_leftovers

_HEADER = "anomalib_lite_checkpoint"
_DATA = "images"
_OPTIMISER = "optimiser."


@dataclass
class TrainingState:
    """How far a training is.

    Attributes:
        step: steps done.
        seconds: seconds spent on them.
        mark: parts of the budget at whose end the held-out loss was noted.
        curve: (step, held-out loss) along the way.
        finished: whether the budget was spent.
    """

    step: int = 0
    seconds: float = 0.0
    mark: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    finished: bool = False


class Checkpoint:
    """The file that a training can be continued from.

    Args:
        path: the file.
        identity: plain JSON types that must be the same to continue. The digest of the images
            may stand under `images`: see `in_folder`.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        settings = {key: value for key, value in identity.items() if key != _DATA}
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))

    @classmethod
    def in_folder(cls, folder: Path, identity: dict[str, Any]) -> Checkpoint:
        """One of several: trainings on other images of the same fit (folds) lie beside it."""
        text = json.dumps(identity, sort_keys=True)
        name = f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"
        return cls(folder / name, identity)

    def write(
        self, module: nn.Module, optimiser: torch.optim.Optimizer, state: TrainingState
    ) -> None:
        """Replace the checkpoint; raises `AnomalibLiteError` when it cannot be written."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        tensors = {f"module.{name}": _plain(item) for name, item in module.state_dict().items()}
        tensors |= _optimiser_tensors(optimiser)
        header = json.dumps({"settings": self.settings, "state": asdict(state)}, sort_keys=True)
        with atomic_path(self.path) as temporary:
            try:
                save_file(tensors, temporary, metadata={_HEADER: header})
            except SafetensorError as error:
                raise OSError(errno.EIO, str(error)) from error

    def read(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> TrainingState | None:
        """Take the checkpoint up; None when there is none yet.

        Raises:
            FitError: it is damaged, or belongs to another training.
        """
        if not self.path.is_file():
            return None
        try:
            header, tensors = _load(self.path)
            if header["settings"] != self.settings:
                raise FitError(
                    f"{self.path}: is the checkpoint of another run; repeat its options or write "
                    "elsewhere"
                )
            state = TrainingState(**header["state"])
            state.curve = [(int(step), float(loss)) for step, loss in state.curve]
            module.load_state_dict(tensors_below(tensors, "module."), strict=True)
            _restore_optimiser(optimiser, tensors)
        except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
            raise FitError(
                f"{self.path}: the checkpoint is damaged ({type(error).__name__}); delete it and "
                "begin again without --resume"
            ) from error
        return state

    def refuse_rivals(self) -> None:
        """What lies beside is this fit on other images, or a mistake; raises FitError for that."""
        found = []
        for path in self.path.parent.glob("*.safetensors"):
            try:
                found.append(_load(path)[0]["settings"])
            except (KeyError, ValueError, RuntimeError, OSError):
                continue
        # Several detectors that are fitted together share the folder.
        mine = self.settings
        rivals = [other for other in found if other.get("detector") == mine.get("detector")]
        if rivals and mine not in rivals:
            raise FitError(
                f"{self.path.parent} holds a checkpoint of another fit (other settings, seed, "
                "steps or weights); repeat the command that wrote it, or leave --resume out to "
                "start again"
            )


def _load(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors; raises OSError, ValueError or KeyError for what is none of ours."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{_OPTIMISER}{index}.{key}": _plain(value)
        for index, moments in optimiser.state_dict()["state"].items()
        for key, value in moments.items()
        if isinstance(value, Tensor)
    }


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Moments into the memory layout of their parameters: fused steps read both side by side."""
    parameters = [item for group in optimiser.param_groups for item in group["params"]]
    for name, value in tensors_below(tensors, _OPTIMISER).items():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape and key != "step":
            kept = torch.empty_like(parameter, memory_format=torch.preserve_format)
            kept.copy_(value)
        else:
            kept = value.clone().to(parameter.device)
        optimiser.state[parameter][key] = kept


def remove_checkpoint(folder: Path) -> None:
    """Remove what a finished training left to be continued; other files of the folder stay."""
    for path in folder.glob("*.safetensors"):
        path.unlink()
    remove_leftovers(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
