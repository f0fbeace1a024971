"""Batch norm of the patch networks: folded into the convolutions, and put back to learn on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

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


def unfold_norms(plain: nn.Module, trained: nn.Module, pixels: Tensor) -> nn.Module:
    """Give a network with batch norm the function of one without, as it answers these pixels.

    Each batch norm takes the mean and variance that it meets on `pixels` and undoes them, so both
    networks agree there exactly (training mode) and elsewhere in evaluation.

    Args:
        plain: built with `norm=False`, trained; `forward` takes the pixels alone.
        trained: the same, built with `norm=True`; it is filled and returned.
        pixels: `(N, 3, H, W)`, as varied as the training pictures.
    """
    hooks = []
    with torch.no_grad():
        for unit, source in _units(trained, plain):
            assert source.conv.bias is not None
            assert unit.norm is not None
            unit.conv.weight.copy_(source.conv.weight)
            hooks.append(unit.norm.register_forward_pre_hook(_undo_with(source.conv.bias)))
        for head, source_head in _heads(trained, plain):
            head.load_state_dict(source_head.state_dict())
        trained.eval()
        trained(pixels)
    for hook in hooks:
        hook.remove()
    return trained


def _units(trained: nn.Module, plain: nn.Module) -> Iterator[tuple[ConvUnit, ConvUnit]]:
    """Convolutions with batch norm, each beside its like without."""
    for name, unit in trained.named_modules():
        if isinstance(unit, ConvUnit):
            like = plain.get_submodule(name)
            assert isinstance(like, ConvUnit)
            yield unit, like


def _heads(trained: nn.Module, plain: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.Conv2d]]:
    """Linear convolutions, which have no batch norm but a bias, each beside its like."""
    for name, head in trained.named_modules():
        if isinstance(head, nn.Conv2d) and head.bias is not None:
            like = plain.get_submodule(name)
            assert isinstance(like, nn.Conv2d)
            yield head, like


def _undo_with(bias: Tensor) -> Callable[[nn.Module, tuple[Tensor]], None]:
    """A hook that lets a batch norm add `bias` and nothing else to what it meets first."""

    def undo(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        var, mean = torch.var_mean(inputs[0], dim=(0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
        norm.weight.copy_(torch.sqrt(var + norm.eps))
        norm.bias.copy_(mean + bias)

    return undo
