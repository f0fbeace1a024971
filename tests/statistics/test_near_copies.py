"""Near copies are found, and different parts are not taken for copies."""

import cv2
import numpy as np
import pytest

from anomalib_lite.data.parts import render
from anomalib_lite.statistics.near_copies import joined, near_copies, small_pictures


def circles(seed, side=160):
    """A drawn part whose place is one of 25: many lie alike, none is a copy."""
    rng = np.random.default_rng(seed)
    frame = np.full((side, side, 3), 60.0)
    centre = [side // 2 + int(rng.integers(-2, 3)) for _ in range(2)]
    cv2.circle(frame, centre, side // 3, (60, 140, 200), -1, cv2.LINE_AA)
    return np.clip(frame + rng.normal(0, 3, frame.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module", params=["kit", "flange", "circles"])
def parts(request):
    if request.param == "circles":
        return [circles(seed) for seed in range(40)]
    return [render(request.param, seed=3, index=index, size=160).image for index in range(40)]


def test_different_parts_raise_no_alarm(parts):
    assert near_copies([small_pictures(part) for part in parts]) == []


def test_several_kinds_of_part_in_one_set_raise_no_alarm():
    """Pairs of one kind share much, pairs of two kinds little: the median is that of the latter."""
    frames = [
        render(kind, seed=3, index=index, size=size).image
        for kind, size in (("flange", 96), ("weave", 96), ("kit", 160))
        for index in range(14)
    ]
    assert near_copies([small_pictures(frame) for frame in frames]) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda frame, rng: np.clip(frame * 1.03, 0, 255),
        lambda frame, rng: np.clip(frame + rng.normal(0, 1, frame.shape), 0, 255),
        lambda frame, rng: cv2.imdecode(
            cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 99])[1], cv2.IMREAD_COLOR
        ),
    ],
    ids=["brighter", "noise", "re-encoded"],
)
def test_near_copies_are_found_where_they_are(parts, change):
    rng = np.random.default_rng(0)
    again = [change(parts[place], rng).astype(np.uint8) for place in (4, 20, 33)]
    pictures = [small_pictures(part) for part in [*parts, *again]]
    assert sorted(near_copies(pictures)) == [(4, 40), (20, 41), (33, 42)]


@pytest.mark.parametrize(
    ("count", "pairs", "groups"),
    [
        (4, [], [0, 1, 2, 3]),
        (5, [(1, 3), (3, 4)], [0, 1, 2, 1, 1]),
        (4, [(2, 3), (0, 1), (1, 2)], [0, 0, 0, 0]),
    ],
)
def test_pairs_join_into_groups(count, pairs, groups):
    assert joined(count, pairs).tolist() == groups


def test_pictures_of_any_depth_and_shape_are_taken():
    for shape, dtype in (((40, 300), np.uint8), ((300, 40, 1), np.uint16), ((9, 9, 4), np.uint8)):
        assert small_pictures(np.ones(shape, dtype), 12).shape == (2, 128, 128)
