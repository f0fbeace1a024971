"""A CUDA device that is not there: tensors that say they lie on it and refuse to mix with others.

Unlike torch's fake tensors they hold their numbers, so that whole fits run, branches on values and
all, and their results can be compared with those of the CPU. `numpy()` of one fails as it does on a
real device, and so does an operator that gets tensors of two devices (scalars aside).
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

ATEN = torch.ops.aten
CUDA = torch.device("cuda:0")
COPIES = {ATEN._to_copy.default, ATEN.copy_.default}
INDEXING = {
    ATEN.index.Tensor,
    ATEN.index_put.default,
    ATEN.index_put_.default,
    ATEN._index_put_impl_.default,
    ATEN._unsafe_index.Tensor,
}


def pretend_cuda(monkeypatch):
    """Let torch find one CUDA device."""
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)


class Pretended(torch.Tensor):
    """A tensor on the pretended device."""

    @staticmethod
    def __new__(cls, held, device=CUDA):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",
        )
        made.held, made.place = held, device
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    @property
    def device(self):
        return self.place

    def numpy(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy; use cpu() first")

    def __array__(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy; use cpu() first")

    def tolist(self):
        return self.held.tolist()

    def __repr__(self):
        return f"Pretended({self.held!r}, device={self.place})"


class PretendedCuda(TorchDispatchMode):
    """While it is active, tensors can be made on, and moved to, the pretended device.

    Args:
        lacks_float64: whether the device has no float64, as Apple's; making one there fails.
    """

    def __init__(self, *, lacks_float64=False):
        super().__init__()
        self.lacks_float64 = lacks_float64

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = _run(func, args, kwargs or {})
        for item in tree_flatten(found)[0]:
            if self.lacks_float64 and isinstance(item, Pretended) and item.dtype == torch.float64:
                raise TypeError(f"{func}: float64 is not supported on this device")
        return found


def _run(func, args, kwargs):
    device = _device_of(func, args, kwargs)
    plain_kwargs = dict(kwargs)
    if plain_kwargs.get("device") is not None:
        wanted = torch.device(plain_kwargs["device"])
        # Below Python the tensors lie on "meta".
        device = device if wanted.type == "meta" else wanted
        plain_kwargs["device"] = torch.device("cpu")
    plain_kwargs.pop("pin_memory", None)
    if func is ATEN.copy_.default:
        device = args[0].place if isinstance(args[0], Pretended) else torch.device("cpu")
    found = func(*tree_map(_held, args), **tree_map(_held, plain_kwargs))
    if device.type == "cpu":
        return found
    wrapped = tree_map(lambda item: _wrapped(item, device), found)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


def _held(item):
    return item.held if isinstance(item, Pretended) else item


def _wrapped(item, device):
    plain = isinstance(item, torch.Tensor) and not isinstance(item, Pretended)
    return Pretended(item, device) if plain else item


def _device_of(func, args, kwargs):
    tensors = [item for item in tree_flatten((args, kwargs))[0] if isinstance(item, torch.Tensor)]
    there = [item for item in tensors if isinstance(item, Pretended)]
    if not there:
        return torch.device("cpu")
    if func in COPIES:
        return there[0].place
    if func in INDEXING and isinstance(args[0], Pretended):
        return args[0].place
    strays = [item for item in tensors if not isinstance(item, Pretended) and item.ndim]
    if strays:
        raise RuntimeError(
            f"{func}: tensors on {there[0].place} and on the cpu {tuple(strays[0].shape)} mix"
        )
    return there[0].place
