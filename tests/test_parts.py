"""The made parts: determinism, exact masks, and plain refusals."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from anomalib_lite.data.parts import PRODUCTS, Rendered, defect_names, render
from anomalib_lite.edge.errors import SettingsError

CASES = [(product, info.name) for product in PRODUCTS for info in defect_names(product)]
# The lens blur reaches 3 canvas pixels and a relief slope 1 more, so 2 image pixels.
BLUR_REACH = 2


def pair(product: str, defect: str, index: int) -> tuple[Rendered, Rendered]:
    """The same scene at 128 pixels, without and with the defect."""
    good = render(product, seed=3, index=index, split="test", size=128)
    return good, render(product, seed=3, index=index, split="test", defect=defect, size=128)


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_same_arguments_give_the_same_pixels(product: str) -> None:
    first = render(product, seed=7, index=4)
    for other in (0, 1):  # what was made in between does not matter
        render(product, seed=other, index=other, defect=defect_names(product)[other].name)
    again = render(product, seed=7, index=4)
    np.testing.assert_array_equal(first.image, again.image)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize(
    "change", [{"seed": 8}, {"index": 5}, {"split": "test"}], ids=["seed", "index", "split"]
)
def test_another_seed_index_or_split_gives_another_image(
    product: str, change: dict[str, int | str]
) -> None:
    base: dict[str, int | str] = {"seed": 7, "index": 4, "split": "train"}
    first = render(product, size=64, **base)  # type: ignore[arg-type]
    other = render(product, size=64, **(base | change))  # type: ignore[arg-type]
    assert np.abs(first.image.astype(int) - other.image).mean() > 1


@pytest.mark.parametrize("size", [64, 100, 256])
@pytest.mark.parametrize("product", PRODUCTS)
def test_an_image_is_square_rgb_and_a_good_one_has_an_empty_mask(product: str, size: int) -> None:
    made = render(product, seed=0, index=0, size=size)
    assert made.image.shape == (size, size, 3)
    assert made.image.dtype == np.uint8
    assert made.mask.shape == (size, size)
    assert made.mask.dtype == np.uint8
    assert not made.mask.any()
    assert (made.defect, made.family) == (None, None)


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize(("product", "defect"), CASES)
def test_a_mask_covers_the_changed_pixels_and_no_others(
    product: str, defect: str, index: int
) -> None:
    good, bad = pair(product, defect, index)
    assert set(np.unique(bad.mask)) == {0, 255}
    kernel = np.ones((2 * BLUR_REACH + 1, 2 * BLUR_REACH + 1), np.uint8)
    around = cv2.dilate(bad.mask, kernel) > 0
    differs = (good.image != bad.image).any(axis=2)
    assert not differs[~around].any()
    assert differs[bad.mask > 0].mean() > 0.5


@pytest.mark.parametrize(("product", "defect"), CASES)
def test_a_defect_is_visible_and_takes_a_small_part_of_the_image(product: str, defect: str) -> None:
    for index in (2, 3):
        good, bad = pair(product, defect, index)
        change = np.abs(good.image.astype(int) - bad.image).max(axis=2)
        assert np.percentile(change[bad.mask > 0], 95) > 12
        assert 0.0002 < (bad.mask > 0).mean() < 0.2


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_product_has_defects_of_every_family_under_distinct_names(product: str) -> None:
    infos = defect_names(product)
    assert {info.family for info in infos} == {"structural", "contamination", "logical"}
    assert len({info.name for info in infos}) == len(infos)
    made = render(product, seed=0, index=0, defect=infos[0].name, size=64)
    assert (made.defect, made.family) == (infos[0].name, infos[0].family)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"product": "gear"}, "unknown product 'gear'; choose one of flange"),
        ({"defect": "rust"}, "flange has no defect 'rust'; choose one of scratch"),
        ({"split": "val"}, "unknown split 'val'; choose one of train, test"),
        ({"seed": -1}, "seed and index must be 0 or more, not seed -1"),
        ({"index": -2}, "seed and index must be 0 or more, not seed 0, index -2"),
        ({"size": 63}, "size must be 64 to 1024 pixels, not 63"),
        ({"size": 1025}, "size must be 64 to 1024 pixels, not 1025"),
    ],
)
def test_an_impossible_request_is_refused_in_one_plain_line(
    arguments: dict[str, str | int], message: str
) -> None:
    full: dict[str, str | int] = {"product": "flange", "seed": 0, "index": 0} | arguments
    with pytest.raises(SettingsError) as caught:
        render(**full)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_defects_of_an_unknown_product_are_refused() -> None:
    with pytest.raises(SettingsError, match="unknown product 'gear'"):
        defect_names("gear")
