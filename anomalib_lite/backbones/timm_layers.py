"""Layers of a timm network by name: which there are, how to read one, where to cut behind it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from anomalib_lite.backbones.weights import plain_name
from anomalib_lite.edge.errors import SettingsError

CLASS_TOKEN = "class_token"
"""Layer name of a vision transformer's class embedding, a 1x1 map."""
POOLED = "pooled"
"""Layer name of the vector that a network's classifier sees, a 1x1 map."""
GLOBAL_LAYERS = (POOLED, CLASS_TOKEN)

_LISTED = 8  # names in a message before it is shortened
_LISTS = (nn.Sequential, nn.ModuleList)
_BLOCKS = "blocks"  # what timm calls the list of blocks inside a stage

_taken: ContextVar[dict[str, Any] | None] = ContextVar("taken", default=None)


@dataclass(frozen=True, eq=False)
class Layer:
    """A place where a network can be read.

    Attributes:
        name: module name as timm writes it, e.g. `layer2`, `blocks.3.1`, `stages.1.blocks.0`.
        stage: place in timm's list of features, None for a layer that timm does not list.
        module: what gives the map, None where only timm knows how to make one of it.
    """

    name: str
    stage: int | None
    module: nn.Module | None


def is_divisible(features: nn.Module) -> bool:
    """Whether a timm feature extractor is a plain chain of modules that give maps.

    Such a chain can be read inside its stages and cut anywhere. Vision transformers list every
    block and cut themselves.
    """
    import timm.models._features as timm_features

    return isinstance(features, timm_features.FeatureListNet) or hasattr(features, "_stage_out_idx")


def layers_of(
    network: nn.Module, infos: Sequence[dict[str, Any]], *, divisible: bool
) -> list[Layer]:
    """All layers in the order in which they are finished, a block before the stage it ends.

    Args:
        network: feature extractor or whole network.
        infos: timm's list of features.
        divisible: see `is_divisible`.
    """
    stages = {plain_name(str(info["module"])): index for index, info in enumerate(infos)}
    if not divisible:
        return [Layer(str(info["module"]), index, None) for index, info in enumerate(infos)]
    found: list[Layer] = []

    def visit(module: nn.Module, path: str, *, listed: bool) -> None:
        stage = stages.get(plain_name(path))
        name = path if stage is None else str(infos[stage]["module"])
        for key, child in _parts(module, block=listed or stage is not None, stage=stage):
            visit(child, f"{name}.{key}", listed=key != _BLOCKS)
        if stage is not None or (listed and _is_composite(module)):
            found.append(Layer(name, stage, module))

    for key, child in network.named_children():
        path = _unflattened(key, infos)
        visit(child, path, listed=path != key)
    return found


def _parts(module: nn.Module, *, block: bool, stage: int | None) -> Sequence[tuple[str, nn.Module]]:
    """Children that are stages or blocks, or lead to some."""
    children = dict(module.named_children())
    if isinstance(module, _LISTS):
        return list(children.items())
    if block and isinstance(children.get(_BLOCKS), _LISTS):
        return [(_BLOCKS, children[_BLOCKS])]
    if stage is not None and all(map(_is_composite, children.values())):
        return list(children.items())
    return []


def _is_composite(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def _unflattened(key: str, infos: Sequence[dict[str, Any]]) -> str:
    """timm's extractors write `stages_4` for an item of the list `stages`."""
    lists = {str(info["module"]).rpartition(".")[0] for info in infos} - {""}
    return next(
        (f"{name}.{key[len(name) + 1 :]}" for name in lists if key.startswith(f"{name}_")), key
    )


def choose(
    layers: Sequence[Layer], names: Sequence[str] | None, default: Sequence[int], owner: str
) -> list[Layer]:
    """The layers of these names, shallow to deep; timm's stages `default` where there are none.

    Raises:
        SettingsError: a name that the network does not have.
    """
    if names is None:
        return [layer for layer in layers if layer.stage in default]
    by_name = {layer.name: layer for layer in layers}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise SettingsError(_no_such_layer(owner, unknown[0], list(by_name)))
    return [layer for layer in layers if layer.name in names]


def _no_such_layer(owner: str, unknown: str, known: list[str]) -> str:
    near = difflib.get_close_matches(unknown, [*known, *GLOBAL_LAYERS], n=3)
    inner = [name for name in known if any(name.startswith(f"{other}.") for other in known)]
    outer = [name for name in known if name not in inner]
    if len(outer) > _LISTED:
        outer = [*outer[:2], "…", outer[-1]]
    return (
        f"{owner} has no layer {unknown!r}; "
        + (f"did you mean {' or '.join(near)}? " if near else "")
        + f"choose from {', '.join(outer)}"
        + (f", blocks inside them such as {inner[-1]}" if inner else "")
        + f", and {POOLED}"
    )


def cut_after(network: nn.Module, last: nn.Module) -> None:
    """Remove what a chain of modules would compute after `last`; in place."""
    children = list(network.named_children())
    for place, (_, child) in enumerate(children):
        if any(module is last for module in child.modules()):
            if isinstance(network, (nn.Sequential, nn.ModuleDict)):
                for later, _ in children[place + 1 :]:
                    delattr(network, later)
            if child is not last:
                cut_after(child, last)
            return


def tap(layer: Layer) -> None:
    """Let `taking` see what the layer's module gives."""
    assert layer.module is not None
    # No closure over the backbone: copies of the network keep working.
    layer.module.register_forward_hook(partial(_take, layer.name))


def _take(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
    taken = _taken.get()
    if taken is not None:
        taken[name] = output


@contextmanager
def taking() -> Iterator[dict[str, Any]]:
    """Outputs of tapped layers by name while the network runs in this thread."""
    taken: dict[str, Any] = {}
    token = _taken.set(taken)
    try:
        yield taken
    finally:
        _taken.reset(token)


def as_map(output: Any, *, channels_last: bool, name: str, owner: str) -> Tensor:
    """A module's output as a map `(N, C, h, w)`; raises `SettingsError` where it is none."""
    if not isinstance(output, Tensor) or output.ndim != 4:
        raise SettingsError(f"{owner}: layer {name} gives no map; read the stage that it is in")
    return output.permute(0, 3, 1, 2) if channels_last else output


def stride_of(
    input_hw: tuple[int, int], grid_hw: tuple[int, int], name: str, infos: Sequence[dict[str, Any]]
) -> int:
    """Input pixels per cell of a layer that timm does not list.

    What timm says of the stage around it if that fits the grid, else the smallest of the network's
    strides, else the smallest power of two that fits: rounding up hides the stride of small grids.
    """
    strides = {str(info["module"]): int(info["reduction"]) for info in infos}
    around = [stride for stage, stride in strides.items() if name.startswith(f"{stage}.")]
    candidates = [*around, *sorted(strides.values()), *(2**power for power in range(10))]
    fits: Callable[[int], bool] = lambda stride: fills(grid_hw, input_hw, stride)  # noqa: E731
    return next(filter(fits, candidates), round(input_hw[0] / grid_hw[0]))


def fills(grid_hw: tuple[int, int], input_hw: tuple[int, int], stride: int) -> bool:
    """Whether a grid has the cells that fit an input, what is left at the end padded or not."""
    return all(
        cells in (pixels // stride, -(-pixels // stride))
        for cells, pixels in zip(grid_hw, input_hw, strict=True)
    )


def cells(input_hw: tuple[int, int], stride: int) -> tuple[int, int]:
    """Cells `(h, w)` of a layer that pads what does not fill the last one."""
    return math.ceil(input_hw[0] / stride), math.ceil(input_hw[1] / stride)
