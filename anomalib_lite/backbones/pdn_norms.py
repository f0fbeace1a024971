"""Batch norm of the patch networks: folded into the convolutions, and put back to learn on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from anomalib_lite.backbones.pdn import ConvUnit


def fold_norms(trained: nn.Module, plain: nn.Module) -> nn.Module:
    """Copy a network trained with batch norm into the same network without; exact.

    Args:
        trained: built with `norm=True`.
        plain: the same, built with `norm=False`; it is filled and returned.
    """
    targets = dict(plain.named_modules())
    with torch.no_grad():
        for name, module in trained.named_modules():
            target = targets.get(name)
            if isinstance(module, ConvUnit):
                assert isinstance(target, ConvUnit)
                assert target.conv.bias is not None
                weight, bias = module.folded()
                target.conv.weight.copy_(weight)
                target.conv.bias.copy_(bias)
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                assert isinstance(target, nn.Conv2d)
                target.load_state_dict(module.state_dict())
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
    sources = dict(plain.named_modules())
    hooks = []
    with torch.no_grad():
        for name, module in trained.named_modules():
            source = sources.get(name)
            if isinstance(module, ConvUnit):
                assert isinstance(source, ConvUnit)
                assert source.conv.bias is not None
                module.conv.weight.copy_(source.conv.weight)
                assert module.norm is not None
                bias = source.conv.bias
                hooks.append(module.norm.register_forward_pre_hook(_undo_with(bias)))
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                assert isinstance(source, nn.Conv2d)
                module.load_state_dict(source.state_dict())
        trained.eval()
        trained(pixels)
    for hook in hooks:
        hook.remove()
    return trained


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
