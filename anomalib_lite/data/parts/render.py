"""One image: compose the scene, take its photograph, and derive the exact mask."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ...edge.errors import SettingsError
from .camera import photograph
from .catalog import DefectInfo, Fault, Product, Rendered
from .flange import FLANGE
from .kit import KIT
from .streams import stream
from .surface import Surface, changed
from .tablet import TABLET
from .views import laid_down_again
from .weave import WEAVE

_ALL: dict[str, Product] = {p.name: p for p in (FLANGE, WEAVE, TABLET, KIT)}
PRODUCTS: tuple[str, ...] = tuple(_ALL)
_SPLITS = ("train", "test")
_SUPERSAMPLE = 2


def defect_names(product: str) -> tuple[DefectInfo, ...]:
    """The defects of a product, each with its family.

    Raises:
        SettingsError: the product is unknown.
    """
    return _product(product).defects


def render(
    product: str,
    *,
    seed: int,
    index: int,
    split: str = "train",
    defect: str | None = None,
    size: int = 256,
    view: int = 0,
) -> Rendered:
    """One photograph of one part, good or with one defect, and its exact mask.

    The same arguments give the same pixels. With the same seed, split and index, the part, its
    pose, its light and its noise are the same with and without a defect.

    Args:
        product: one of `PRODUCTS`.
        seed: 0 or more; another seed gives another data set.
        index: 0 or more; which image of the split.
        split: "train" or "test".
        defect: a name from `defect_names(product)`, or None for a good part.
        size: side of the square image in pixels, 64 to 1024.
        view: which photograph of that part: 1, 2, ... show the same one laid down again, in
            another moment's light and noise.

    Raises:
        SettingsError: an argument is unknown or out of range.
    """
    kind = _product(product)
    info = None if defect is None else _defect(kind, defect)
    _check(seed, index, split, size, view)
    key = (product, split, index)
    side = size * _SUPERSAMPLE
    shot = () if view == 0 else ("view", view)

    def composed(fault: Fault | None) -> Surface:
        part = kind.compose(stream(seed, *key, "scene"), fault, side)
        return part if view == 0 else laid_down_again(part, stream(seed, *key, "pose", view))

    canvas = composed(None)
    mask = np.zeros((size, size), np.uint8)
    if info is not None:
        fault = Fault(info.name, stream(seed, *key, "defect", info.name))
        faulty = composed(fault)
        mask = _mask(canvas, faulty, size)
        canvas = faulty
    image = photograph(canvas, size, stream(seed, *key, "camera", *shot), kind.studio)
    return Rendered(image, mask, defect, None if info is None else info.family)


def _mask(good: Surface, bad: Surface, size: int) -> npt.NDArray[np.uint8]:
    """(size, size) 0/255: image pixels of which any canvas pixel changed, pinholes closed."""
    fine = changed(good, bad).reshape(size, _SUPERSAMPLE, size, _SUPERSAMPLE)
    coarse = np.asarray(fine.any(axis=(1, 3)) * 255, dtype=np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    return np.asarray(cv2.morphologyEx(coarse, cv2.MORPH_CLOSE, kernel), dtype=np.uint8)


def _product(name: str) -> Product:
    if name not in _ALL:
        raise SettingsError(f"unknown product {name!r}; choose one of {', '.join(PRODUCTS)}")
    return _ALL[name]


def _defect(product: Product, name: str) -> DefectInfo:
    for info in product.defects:
        if info.name == name:
            return info
    known = ", ".join(info.name for info in product.defects)
    raise SettingsError(f"{product.name} has no defect {name!r}; choose one of {known}")


def _check(seed: int, index: int, split: str, size: int, view: int) -> None:
    if view < 0:
        raise SettingsError(f"view must be 0 or more, not {view}")
    if seed < 0 or index < 0:
        raise SettingsError(f"seed and index must be 0 or more, not seed {seed}, index {index}")
    if split not in _SPLITS:
        raise SettingsError(f"unknown split {split!r}; choose one of {', '.join(_SPLITS)}")
    if not 64 <= size <= 1024:
        raise SettingsError(f"size must be 64 to 1024 pixels, not {size}")
