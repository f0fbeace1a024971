"""The split of sets without one depends on paths only, and stays put when images are added."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalib_lite.data.adapters.splits import path_fraction, split_good

NAMES = st.sets(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), max_size=40)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("good/000.png", 0x3E69C2C14DADE5 / 2**56),
        ("good/001.png", 0x709D8A2E8EEBC2 / 2**56),
        ("MT_Free/Imgs/exp1_num_1.jpg", 0x8405316F943E5B / 2**56),
    ],
)
def test_the_fraction_of_a_path_is_the_head_of_its_sha_256(name: str, expected: float) -> None:
    assert path_fraction(name) == expected


def test_windows_and_decomposed_names_get_the_same_side() -> None:
    assert path_fraction("good\\ü.png") == path_fraction("good/ü.png")
    assert path_fraction(unicodedata.normalize("NFD", "ü")) == path_fraction("ü")


@given(NAMES)
def test_the_fraction_is_below_one_and_every_group_gets_a_side(names: set[str]) -> None:
    sides = split_good(names)
    assert set(sides) == names
    assert all(0 <= path_fraction(name) < 1 for name in names)
    if len(names) > 1:
        assert set(sides.values()) == {"train", "test"}


def test_eighty_percent_of_many_images_train() -> None:
    sides = list(split_good(f"good/{i:05d}.png" for i in range(5000)).values())
    assert 0.78 < sides.count("train") / 5000 < 0.82


def test_adding_images_moves_no_other_image_across() -> None:
    few = split_good(f"good/{i:03d}.png" for i in range(50))
    many = split_good(f"good/{i:03d}.png" for i in range(200))
    assert all(many[name] == side for name, side in few.items())


def test_a_single_image_trains() -> None:
    names = [f"good/{i:03d}.png" for i in range(20)]
    assert max(path_fraction(name) for name in names) > 0.8
    assert all(split_good([name]) == {name: "train"} for name in names)
    assert split_good([]) == {}
