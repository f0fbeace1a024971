"""Batch norm of the patch networks: folded into the convolutions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from anomalib_lite.backbones.pdn import ConvUnit


def fold_norms(trained: nn.Module, plain: nn.Module) -> nn.Module:
    """Copy a network trained with batch norm into the same network without; exact.

    Args:
        trained: built with `norm=True`.
        plain: the same, built with `norm=False`; it is filled and returned.
    """
    with torch.no_grad():
        for unit, target in _units(trained, plain):
            assert target.conv.bias is not None
            weight, bias = unit.folded()
            target.conv.weight.copy_(weight)
            target.conv.bias.copy_(bias)
        for head, target_head in _heads(trained, plain):
            target_head.load_state_dict(head.state_dict())
    return plain


def _units(trained: nn.Module, plain: nn.Module) -> Iterator[tuple[ConvUnit, ConvUnit]]:
    """Convolutions with batch norm, each beside its like without."""
    for name, unit in trained.named_modules():
        if isinstance(unit, ConvUnit):
            like = plain.get_submodule(name)
            assert isinstance(like, ConvUnit)
            yield unit, like


def _heads(trained: nn.Module, plain: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.Conv2d]]:
    """Linear convolutions, which have no batch norm, each beside its like."""
    for name, head in trained.named_modules():
        inside = trained.get_submodule(name.rpartition(".")[0])
        if isinstance(head, nn.Conv2d) and not isinstance(inside, ConvUnit):
            like = plain.get_submodule(name)
            assert isinstance(like, nn.Conv2d)
            yield head, like
