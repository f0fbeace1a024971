"""Objects of libraries that are not imported here, recognised by the names of their classes."""

from __future__ import annotations

from typing import Any


def is_torch_tensor(item: Any) -> bool:
    """Whether it is a torch tensor."""
    return _is_a("torch", "Tensor", item)


def is_pil_image(item: Any) -> bool:
    """Whether it is a PIL image."""
    return _is_a("PIL.Image", "Image", item)


def _is_a(module: str, name: str, item: Any) -> bool:
    return any(kind.__name__ == name and kind.__module__ == module for kind in type(item).__mro__)
