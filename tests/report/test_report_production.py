"""The production report: no labels, bounded memory and size, drift, rejected frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report_builders import NASTY, SPEC, Page, calibration

from anomalib_lite.edge.prediction import make_prediction
from anomalib_lite.edge.runs.scoring import ScoredFrame
from anomalib_lite.report.production import MOST_ACCEPTED, MOST_PICTURES, ProductionReport
from anomalib_lite.report.production_page import render_production, write_production

KNOWN = calibration()
FRAME = np.full((80, 120, 3), 90, np.uint8)


def scored(name: str, score: float, *, side: int = 8) -> ScoredFrame:
    network_map = np.full((side, side), score, np.float32)
    prediction = make_prediction(score, network_map, (80, 120), calibration=KNOWN, spec=SPEC)
    return ScoredFrame(name, FRAME, prediction)


def report(*items: ScoredFrame) -> ProductionReport:
    made = ProductionReport(
        KNOWN, SPEC, source="line", model="padim on filters", provenance={"file": NASTY}
    )
    for item in items:
        made.add(item)
    return made


def good_frames(count: int, shift: float = 0.0) -> list[ScoredFrame]:
    scores = np.random.default_rng(5).normal(1.0 + shift, 0.1, count)
    return [scored(f"good/{k}.png", float(s)) for k, s in enumerate(scores)]


def test_counts_equal_what_came() -> None:
    items = [*good_frames(50), scored("bad.png", 5.0), ScoredFrame("x.png", None, None, "torn")]
    rejected = sum(i.prediction is not None and i.prediction.is_anomalous for i in items)
    made = report(*items)
    text = Page.of(render_production(made)).text
    assert made.rejected_count == rejected
    assert "Frames judged 51 52 arrived." in text
    assert f"Rejected {rejected} " in text
    assert "Not readable 1 " in text
    assert Page.of(render_production(made)).row("x.png") == ["x.png", "torn"]


def test_the_page_is_complete_and_escaped() -> None:
    html = render_production(report(scored(NASTY, 5.0), ScoredFrame(NASTY, None, None, NASTY)))
    found = Page.of(html)
    assert found.open_tags == []
    assert "<script>alert" not in html
    assert len(found.all("script")) == 1
    assert all(i["src"].startswith("data:image/jpeg") and i["alt"] for i in found.all("img"))
    assert found.text.count(NASTY) == 4


def test_a_lot_of_defects_that_nobody_noticed_is_shown_and_nobody_is_told_to_learn_them() -> None:
    defective = [scored(f"lot/{k:02d}.png", 1.08 + k / 400) for k in range(18)]
    made = report(*good_frames(6, -0.1), *defective)
    found = Page.of(render_production(made))
    assert made.rejected_count == 0
    assert [frame.name for frame in made.accepted] == [f"lot/{k:02d}.png" for k in range(17, 9, -1)]
    assert len(found.all("img")) == 2 * MOST_ACCEPTED
    defects, learn = found.text.index("Undetected defects"), found.text.index("add frames")
    assert defects < found.text.index("never add such frames to the fit") < learn
    assert "frames that a person has found good" in found.text
    assert "The highest scores of 24 accepted frames" in found.text


@pytest.mark.parametrize(
    ("shift", "count", "said"),
    [
        (0.0, 200, "does not prove that no defect has passed"),
        (0.1, 200, "Undetected defects, or a drift"),
        (-0.1, 200, "Undetected defects, or a drift"),
        (0.2, 200, "Either these parts are defective, or"),
        (0.0, 5, "only a person can tell whether defects pass"),
    ],
)
def test_each_verdict_names_defects_explains_drift_and_shows_the_highest_accepted(
    shift: float, count: int, said: str
) -> None:
    found = Page.of(render_production(report(*good_frames(count, shift))))
    assert said in found.text
    assert "Drift is a change of the scene" in found.text
    assert {"href": "#accepted"} in found.all("a")
    assert any(head.get("id") == "accepted" for head in found.all("h2"))


def test_accepted_frames_are_shown_beside_rejected_ones_under_one_legend() -> None:
    found = Page.of(render_production(report(*good_frames(30, -0.2), scored("bad.png", 5.0))))
    assert len(found.all("img")) == 2 * (MOST_ACCEPTED + 1)
    assert found.text.count("Colours are anchored") == 1
    assert "rejected · score 5 " in found.text


def test_only_the_worst_frames_have_pictures_and_the_next_are_named() -> None:
    made = report(*(scored(f"{k:03d}.png", 2 + k / 100) for k in range(300)))
    found = Page.of(render_production(made))
    assert len(found.all("img")) == 2 * MOST_PICTURES
    assert made.pictured[0].name == "299.png"
    assert found.row(f"{299 - MOST_PICTURES:03d}.png")[1] == f"{2 + (299 - 24) / 100:.4g}"
    assert "The 24 highest scores of 300 rejected frames." in found.text
    assert "and 100 more: see results.jsonl" in found.text


def test_frames_are_not_kept() -> None:
    made = report(*good_frames(100))
    assert made.scores.size == 100
    assert all(frame.picture for frame in made.pictured + made.accepted)
    assert len(made.accepted) == MOST_ACCEPTED
    assert not any(isinstance(value, ScoredFrame) for value in vars(made).values())


def test_a_long_unreadable_stream_is_bounded() -> None:
    made = report(*(ScoredFrame(f"{k}.png", None, None, "empty") for k in range(5000)))
    html = render_production(made)
    assert len(made.unreadable) == 200
    assert "and 4950 more" in Page.of(html).text
    assert "Nothing could be judged" in html
    assert len(html) < 100_000


def test_the_largest_possible_report_is_below_five_megabytes() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (400, 400, 3), np.uint8)
    made = report()
    for k in range(300):
        item = scored(f"{'n' * 200}{k}", 5.0 + k)
        made.add(ScoredFrame(item.name, noise if k > 270 else FRAME, item.prediction))
    assert len(render_production(made).encode()) < 5_000_000


def test_a_drift_of_good_looking_frames_is_hinted_at() -> None:
    assert "No drift seen" in render_production(report(*good_frames(200)))
    assert "score higher than the calibration" in render_production(report(*good_frames(200, 0.1)))
    assert "score lower than the calibration" in render_production(report(*good_frames(200, -0.1)))
    assert "More than half of the frames" in render_production(report(*good_frames(200, 0.4)))
    assert "Too few frames" in render_production(report(*good_frames(5)))


def test_a_model_that_does_not_localise_shows_frames_without_heat_maps() -> None:
    found = Page.of(render_production(report(scored("a.png", 5.0, side=1))))
    assert len(found.all("img")) == 1
    assert "Colours are anchored" not in found.text


def test_no_frame_at_all_gives_a_page() -> None:
    found = Page.of(render_production(report()))
    assert "Nothing could be judged" in found.text
    assert "No frame was rejected." in found.text


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    items = [*good_frames(30), scored("bad.png", 5.0)]
    first = write_production(report(*items), tmp_path / "a.html").read_bytes()
    assert first == write_production(report(*items), tmp_path / "b.html").read_bytes()
