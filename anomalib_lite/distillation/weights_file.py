"""The weights that a distillation leaves: float16 `.safetensors` with a model card inside."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from anomalib_lite.distillation.train import Distillation
from anomalib_lite.edge.errors import AnomalibLiteError, WeightsError
from anomalib_lite.edge.files import atomic_path
from anomalib_lite.system.versions import installed_versions

CARD_KEY = "card"
_HALF_LARGEST = 65504.0


def write_weights(distillation: Distillation, path: str | Path, *, note: str = "") -> Path:
    """Write the student as it is now, ready to be a backbone; atomic.

    Args:
        distillation: a run, finished or not.
        path: `.safetensors` file.
        note: licence of the pictures, or whatever else users must know.

    Raises:
        AnomalibLiteError: a weight does not fit into float16; the run has diverged.
    """
    from safetensors.torch import save_file

    tensors = {}
    for name, value in distillation.network().state_dict().items():
        if not bool(torch.isfinite(value).all()) or float(value.abs().max()) > _HALF_LARGEST:
            raise AnomalibLiteError(
                f"weight {name} is not finite or too large; the run has diverged: repeat it with a "
                "smaller learning rate"
            )
        tensors[name] = value.half().contiguous()
    card = json.dumps(model_card(distillation, note), sort_keys=True)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={CARD_KEY: card})
    return Path(path)


def model_card(distillation: Distillation, note: str) -> dict[str, Any]:
    """Teacher, data, steps and held-out error, as plain JSON types."""
    held_out = distillation.held_out
    return {
        **asdict(distillation.settings),
        "steps_done": distillation.step,
        "held_out_error": held_out[-1][1] if held_out else None,
        "teacher": distillation.teacher_name,
        "teacher_sha256": distillation.teacher_sha256,
        "pictures": [len(group) for group in distillation.pool.groups],
        "started_from": distillation.started_from or None,
        "procedural_pictures": distillation.pool.procedural,
        "versions": installed_versions(),
        "note": note,
    }


def read_card(path: str | Path) -> dict[str, Any]:
    """The model card of a weights file; raises `WeightsError` when it has none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            card: dict[str, Any] = json.loads((file.metadata() or {})[CARD_KEY])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise WeightsError(f"{path}: has no model card of a distillation ({error})") from error
    return card
