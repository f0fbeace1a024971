"""What a threshold rests on, in words, and rates side by side: tables worked out by hand."""

import numpy as np
import pytest

from anomalib_lite.detector.resting import explain_resting, threshold_without
from anomalib_lite.detector.training_record import FittedData, ImageRecord
from anomalib_lite.edge import Calibration
from anomalib_lite.edge.rates import distinct_rows, out_of_reach


def fitted(scores, rate=0.01, origins=None):
    origins = origins or [""] * len(scores)
    records = tuple(
        ImageRecord(f"id{place}", True, float(score), 0.0, name=f"{place}.png", origin=origin)
        for place, (score, origin) in enumerate(zip(scores, origins, strict=True))
    )
    calibration = Calibration.from_scores(
        scores,
        scores,
        max_false_reject=rate,
        method="held out",
        origins=[record.shows for record in records],
    )
    return FittedData("good", records, {}, (8, 8), ()), calibration


FEW = [1.0, 2.0, 3.0, *np.linspace(0.1, 0.9, 9)]
MANY = np.linspace(0.5, 1.0, 197).tolist()


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        # 12 images: the largest is the threshold at any of these rates; the next is a third lower.
        (FEW, "the threshold rests on 2.png: without it, it would be 2, 33 % lower"),
        # 200 images: the threshold is the second largest; without either odd one it is the third.
        (
            [1.4, 1.3, *MANY, 1.0],
            "the threshold rests on 0.png and 1.png: it would be without 0.png 1, without 1.png 1; "
            "without all of them 1, 23 % lower; at 5 % it would be 0.9847",
        ),
        # Three alike: none moves it alone by 5 %, but they do together.
        (
            [1.4, 1.4, 1.4, *MANY],
            "the threshold rests on 0.png, 1.png and 2.png: it would be without 0.png 1.4, "
            "without 1.png 1.4, without 2.png 1.4; without all of them 1, 29 % lower; "
            "at 5 % it would be 0.9847",
        ),
        ([0.99, 1.0, *MANY], ""),
        ([-1.0, -2.0, -3.0], ""),
    ],
)
def test_up_to_three_images_that_move_the_threshold_are_named(scores, words):
    found = explain_resting(*fitted(scores))
    assert found == words


def test_views_of_one_part_are_taken_out_together():
    data, calibration = fitted(FEW, origins=["", "a", "a", *[""] * 9])
    oddest, together = threshold_without(data, calibration)
    assert [item.name for item in oddest] == ["2.png"]
    assert oddest[0].without == together == 1.0


@pytest.mark.parametrize(
    ("images", "asked", "missing"),
    [
        (
            12,
            ["0.5 %, 1 %, 2 %, 5 %"],
            "more good images of different parts can promise less: 5 % from 19, 2 % from 49, "
            "1 % from 99, 0.5 % from 199 (12 now)",
        ),
        (
            60,
            ["0.5 %, 1 %, 2 %", "5 %"],
            "more good images of different parts can promise less: 1 % from 99, 0.5 % from 199 "
            "(60 now)",
        ),
        (250, ["0.5 %", "1 %", "2 %", "5 %"], ""),
    ],
)
def test_each_threshold_stands_in_the_table_once(images, asked, missing):
    points = fitted(np.arange(1.0, images + 1))[1].at_rates()
    rows = distinct_rows(points)
    assert [row.words for row in rows] == asked
    assert len({row.point.threshold for row in rows}) == len(rows)
    assert out_of_reach(points) == missing
