"""Comparing configurations on simulated defects: the ranking, its pairing, and the command."""

import json

import cv2
import numpy as np
import pytest

from anomalib_lite.data.parts import render
from anomalib_lite.metrics import auroc
from anomalib_lite.report.comparison import render_comparison
from anomalib_lite.tuning.judging import Judgement
from anomalib_lite.tuning.ranking import Judged, rank

KINDS = ("spot", "stain")


def judged(name, lead, seed=0, images=30):
    """Scores of which a defect's is higher by `lead` on average; the same noise for each seed."""
    rng = np.random.default_rng(seed)
    good, noise = rng.normal(0, 1, images), rng.normal(0, 1, (images, 2))
    return Judged(name, Judgement(good, good[:, None] * 0.5 + noise + lead), threshold=2.0)


def test_the_better_one_comes_first_with_the_auroc_of_its_scores():
    rows = rank([judged("weak", 1.0), judged("strong", 3.0)], KINDS, 0)
    assert [row.name for row in rows] == ["strong", "weak"]
    one = judged("weak", 1.0).judgement
    expected = [
        auroc(np.concatenate([one.good, column]), np.repeat([0, 1], len(one.good)))
        for column in one.defects.T
    ]
    assert list(rows[1].by_kind.values()) == pytest.approx(expected)
    assert rows[1].auroc == pytest.approx(np.mean(expected))
    assert rows[1].misses == pytest.approx((one.defects <= 2).mean())
    assert rows[1].rejects == pytest.approx((one.good > 2).mean())


def test_a_clear_lead_has_an_interval_above_zero_and_a_tie_has_none():
    clear = rank([judged("strong", 3.0), judged("weak", 1.0)], KINDS, 0)[1]
    assert 0 < clear.behind[1] < clear.behind[0] < clear.behind[2]
    tie = rank([judged("one", 1.0), judged("other", 1.0, seed=1)], KINDS, 0)[1]
    assert tie.behind[1] < 0 < tie.behind[2] or tie.behind[0] > 0.1


def test_pairing_makes_the_interval_of_a_difference_smaller():
    """The same noise on both: the difference is sure although neither figure is."""
    near = rank([judged("one", 1.3), judged("other", 1.0)], KINDS, 0)[1]
    width = near.behind[2] - near.behind[1]
    assert width < 0.6 * (near.interval[1] - near.interval[0])


def test_kinds_that_could_not_be_made_count_nothing():
    one = judged("one", 2.0)
    one.judgement.defects[:, 1] = np.nan
    (row,) = rank([one], KINDS, 0)
    assert np.isnan(row.by_kind["stain"])
    assert row.auroc == row.by_kind["spot"]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare") / "good"
    folder.mkdir()
    for index in range(20):
        image = render("flange", seed=3, index=index, size=64).image
        cv2.imwrite(str(folder / f"{index:02d}.png"), image[:, :, ::-1])
    return folder


def run(cli, *arguments):
    return cli("compare", *map(str, arguments), "--image-size", "64", "--backbone", "filters")


def test_the_command_writes_table_page_and_figures(cli, good, tmp_path, capfd):
    named = ("--detector", "knn", "--detector", "mvg", "--kind", "spot", "--kind", "stain")
    for name in ("one", "same"):
        assert run(cli, good, "--out", tmp_path / name, *named) == 0
    assert "knn on filters" in capfd.readouterr().out
    document = json.loads((tmp_path / "one" / "compare.json").read_text())
    assert document == json.loads((tmp_path / "same" / "compare.json").read_text())
    assert (document["held_out_images"], document["learnt_images"]) == (6, 14)
    assert {row["name"] for row in document["rows"]} == {"knn on filters", "mvg on filters"}
    assert all(set(row["by_kind"]) == {"spot", "stain"} for row in document["rows"])
    page = (tmp_path / "one" / "compare.html").read_text()
    assert "What this ranking is" in page


def test_a_page_without_rows_says_why():
    from anomalib_lite.tuning.comparison import Comparison

    page = render_comparison(Comparison([], 6, 14, {"x on y": "too <few>"}), title="t")
    assert "too &lt;few&gt;" in page


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--detector", "knn"), "knn on filters: name two or more detectors or backbones"),
        (("--detector", "knn", "--detector", "knn"), "one is named twice; name each once"),
        (("--detector", "knn", "--detector", "mvgg"), "did you mean mvg"),
        (("--detector", "knn", "--detector", "mvg", "--kind", "spott"), "did you mean spot"),
    ],
)
def test_mistakes_are_told_in_one_line(cli, good, tmp_path, capfd, arguments, expected):
    assert run(cli, good, "--out", tmp_path / "out", *arguments) == 2
    assert expected in capfd.readouterr().err.replace("\n", " ")


def test_too_few_good_images_are_told(cli, good, tmp_path, capfd):
    few = f"{good}/0*.png"
    named = ("--detector", "knn", "--detector", "mvg")
    assert run(cli, few, "--out", tmp_path / "out", *named) == 2
    assert "give at least 20" in capfd.readouterr().err.replace("\n", " ")
