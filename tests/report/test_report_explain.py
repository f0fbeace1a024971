"""Explanations as pictures: a rejected patch beside the nearest good one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from report_builders import NASTY, SPEC, Page, calibration

from anomalib_lite.edge.prediction import make_prediction
from anomalib_lite.edge.runs.scoring import ScoredFrame
from anomalib_lite.report.explain import SIDE_PX, PairPicture, draw_pair, write_pairs
from anomalib_lite.report.production import ProductionReport
from anomalib_lite.report.production_page import render_production

RED, GREEN = (214, 30, 30), (40, 140, 60)


def picture_with(box, size_hw, colour):
    """Grey, with one coloured rectangle given as shares."""
    height, width = size_hw
    made = np.full((height, width, 3), 120, np.uint8)
    top, left, bottom, right = box
    rows = slice(round(top * height), round(bottom * height))
    made[rows, round(left * width) : round(right * width)] = colour
    return made


def evidence(picture, box, good_box):
    named = [SimpleNamespace(top=b[0], left=b[1], bottom=b[2], right=b[3]) for b in (box, good_box)]
    return SimpleNamespace(
        box=named[0],
        good_box=named[1],
        picture=picture,
        distance=1.5,
        image=7,
        name="a/007.png",
        origin="somewhere",
    )


def outlined(half, colour):
    """Rows and columns of the pixels of a colour: first, last."""
    rows, columns = np.nonzero((half == colour).all(axis=2))
    return rows.min(), rows.max(), columns.min(), columns.max()


@pytest.mark.parametrize("size_hw", [(96, 96), (200, 400), (300, 150)])
@pytest.mark.parametrize("good_hw", [(96, 96), (64, 64)])
def test_both_patches_are_framed_where_they_are_whatever_the_sizes(size_hw, good_hw):
    box, good_box = (0.5, 0.5, 0.625, 0.625), (0.25, 0.5, 0.375, 0.625)
    frame = picture_with(box, size_hw, (255, 255, 0))
    good = picture_with(good_box, good_hw, (0, 0, 255))
    pair = draw_pair(evidence(good, box, good_box), frame)
    assert pair.pixels.shape == (SIDE_PX, 2 * SIDE_PX + 8, 3)
    halves = ((pair.pixels[:, :SIDE_PX], RED, 2), (pair.pixels[:, -SIDE_PX:], GREEN, 0))
    for half, colour, other in halves:
        top, bottom, left, right = outlined(half, colour)
        inside = half[top + 4 : bottom - 3, left + 4 : right - 3].reshape(-1, 3)
        assert len(inside) > 20
        assert (np.abs(inside.astype(int) - (255, 255, 0)) < 12).all() == (other == 2)
        beyond = half[top : bottom + 1, right + 6 : right + 10].reshape(-1, 3)
        assert (np.abs(beyond.astype(int) - 120) < 12).all()


def test_a_stretched_picture_looks_like_the_frame_again():
    box = (0.4, 0.4, 0.5, 0.5)
    frame = picture_with(box, (100, 200), (255, 255, 0))
    good = picture_with(box, (64, 64), (255, 255, 0))
    pair = draw_pair(evidence(good, box, box), frame)
    left = outlined(pair.pixels[:, :SIDE_PX], RED)
    right = outlined(pair.pixels[:, -SIDE_PX:], GREEN)
    assert np.abs(np.subtract(left, right)).max() <= 8
    height, width = left[1] - left[0], left[3] - left[2]
    assert width == pytest.approx(2 * height, rel=0.15)


def test_without_a_picture_the_right_half_is_empty():
    box = (0.4, 0.4, 0.5, 0.5)
    pair = draw_pair(evidence(None, box, box), np.zeros((50, 50, 3), np.uint8))
    assert len(np.unique(pair.pixels[:, -SIDE_PX:])) == 1


def test_a_grey_frame_of_twelve_bits_is_drawn_for_the_eye():
    box = (0.4, 0.4, 0.5, 0.5)
    frame = np.full((50, 50), 2048, np.uint16)
    pair = draw_pair(evidence(frame, box, box), frame, 12)
    assert pair.pixels[5, 5].tolist() == pair.pixels[5, -5].tolist() == [127, 127, 127]


def test_pairs_are_written_by_frame_and_number(tmp_path):
    pairs = [PairPicture(np.zeros((4, 6, 3), np.uint8), 1.0, "x", "y")] * 2
    paths = write_pairs(tmp_path, ScoredFrame("in/a/b.png", None, None), pairs, "in")
    assert [path.name for path in paths] == ["a__b.png.1.png", "a__b.png.2.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_the_production_report_shows_the_pairs_and_escapes_names():
    known = calibration()
    network_map = np.full((8, 8), 3.0, np.float32)
    prediction = make_prediction(3.0, network_map, (80, 120), calibration=known, spec=SPEC)
    item = ScoredFrame(NASTY, np.full((80, 120, 3), 90, np.uint8), prediction)
    pair = PairPicture(np.zeros((SIDE_PX, 488, 3), np.uint8), 2.25, NASTY, "somewhere")
    pages = []
    for pairs in ((), (pair, pair)):
        report = ProductionReport(known, SPEC, source="line", model="m")
        report.add(item, pairs)
        pages.append(render_production(report))
    plain, explained = (Page.of(html) for html in pages)
    assert "Why they were rejected" not in plain.text
    assert "Why they were rejected" in explained.text
    assert "distance 2.25 to" in explained.text
    assert len(explained.all("img")) == len(plain.all("img")) + 1
    assert NASTY not in pages[1]
