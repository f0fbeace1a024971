"""What `evaluate` reports equals what the metrics give on predictions made by hand."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from evaluation_helpers import FAST, Cli

from anomalib_lite import metrics
from anomalib_lite.data.adapters import open_dataset
from anomalib_lite.detector.detector import Detector
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.evaluation.maps import MapStore, shrink_mask
from anomalib_lite.evaluation.summary import mean_over_categories, mean_over_seeds
from anomalib_lite.statistics.shares import wilson_interval


def summary_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "metrics.json").read_text())


def only_run(out: Path) -> dict[str, Any]:
    (path,) = (out / "runs").glob("*.json")
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def by_hand(parts: Path) -> dict[str, Any]:
    """Maps, masks, scores and labels of padim on filters, without the evaluation."""
    samples = open_dataset(f"mvtec:{parts}").samples("test")
    train = [sample.path for sample in open_dataset(f"mvtec:{parts}").samples("train")]
    detector = Detector("padim", backbone="filters", image_size=64, seed=0).fit(train)
    predictions = []
    for start in range(0, len(samples), 16):
        predictions += detector.predict_batch([s.path for s in samples[start : start + 16]])
    masks = [
        cv2.imread(str(sample.mask_paths[0]), 0) if sample.label else np.zeros((96, 96), np.uint8)
        for sample in samples
    ]
    return {
        "maps": [prediction.anomaly_map for prediction in predictions],
        "network_maps": [prediction.network_map for prediction in predictions],
        "masks": masks,
        "scores": [prediction.score for prediction in predictions],
        "labels": [sample.label for sample in samples],
        "defects": [sample.defect for sample in samples],
        "threshold": detector.calibration.threshold,
    }


@pytest.fixture(scope="module")
def evaluated(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation with two detectors and two seeds."""
    from anomalib_lite.evaluation import EvaluationSettings, evaluate

    out = tmp_path_factory.mktemp("evaluated")
    settings = EvaluationSettings(
        data=(f"mvtec:{parts}",),
        detectors=("padim", "mvg"),
        backbones=("filters",),
        seeds=2,
        image_size=(64, 64),
    )
    evaluate(settings, out)
    return out


@pytest.mark.filterwarnings("ignore::anomalib_lite.metrics.MetricWarning")
def test_every_figure_equals_the_metric_on_predictions_made_by_hand(evaluated, by_hand):
    run = summary_of(evaluated)["runs"][0]
    maps, masks, scores, labels = (by_hand[k] for k in ("maps", "masks", "scores", "labels"))
    pixel = metrics.pixel_metrics(maps, masks)
    assert run["metrics"] == {
        "image_auroc": metrics.auroc(scores, labels),
        "image_average_precision": metrics.average_precision(scores, labels),
        "image_f1_max": metrics.f1_max(scores, labels),
        "pixel_auroc": pixel.auroc,
        "pixel_average_precision": pixel.average_precision,
        "pixel_f1_max": pixel.f1.f1,
        "aupro": metrics.aupro(maps, masks),
        "aupimo": pytest.approx(metrics.aupimo(maps, masks).mean, abs=1e-15),
        "au_spro": None,
    }
    assert "distinct normal scores" in run["remarks"]["aupimo"]


def test_rates_at_the_calibrated_threshold_come_with_their_counts(evaluated, by_hand):
    operating = summary_of(evaluated)["runs"][0]["operating"]
    scores, labels, threshold = (by_hand[k] for k in ("scores", "labels", "threshold"))
    rejected = metrics.false_reject_rate(scores, labels, threshold)
    assert operating["threshold"] == threshold
    assert operating["false_reject"]["num_samples"] == 12
    assert operating["false_reject"]["num_hits"] == rejected.num_hits
    assert operating["miss"]["value"] == metrics.miss_rate(scores, labels, threshold).value
    assert operating["promised_false_reject"] == pytest.approx(1 / 11)
    recalls = metrics.per_defect_recall(scores, by_hand["defects"], threshold)
    assert {k: v["value"] for k, v in operating["recall_per_defect"].items()} == {
        name: rate.value for name, rate in recalls.items()
    }


def test_runs_are_compared_at_one_and_five_percent_and_at_the_best_that_overlap_allows(
    evaluated, by_hand
):
    run = summary_of(evaluated)["runs"][0]
    scores, labels = (np.asarray(by_hand[name]) for name in ("scores", "labels"))
    record = json.loads((evaluated / "runs" / f"{run['key']}.json").read_text())
    calibration = Calibration.from_dict(record["calibration"])
    for name, found in run["operating"]["at"].items():
        chosen = calibration.with_rate(float(name))
        missed = int((scores[labels == 1] <= chosen.threshold).sum())
        assert found["threshold"] == chosen.threshold
        assert found["miss"]["num_hits"] == missed
        assert found["miss"]["interval"] == list(wilson_interval(missed, int(labels.sum())))
        assert found["promised_false_reject"] == chosen.operating.false_reject_rate
    best = run["operating"]["best"]
    assert best["threshold"] == scores[labels == 0].max()
    assert best["false_reject"]["num_hits"] == 0
    assert best["miss"]["num_hits"] == int((scores[labels == 1] <= best["threshold"]).sum())
    tables = (evaluated / "metrics.md").read_text()
    assert "misses at 1 %" in tables
    assert "## Misses by kind of defect" in tables


def test_a_detector_that_does_not_localise_has_no_pixel_figures_and_says_why(evaluated):
    run = next(run for run in summary_of(evaluated)["runs"] if run["detector"] == "mvg")
    assert run["metrics"]["image_auroc"] is not None
    assert run["metrics"]["aupro"] is None
    assert "does not say where" in run["reasons"]["aupro"]


def test_each_scored_frame_has_one_line_in_the_order_of_the_data_set(evaluated, by_hand):
    key = summary_of(evaluated)["runs"][0]["key"]
    text = (evaluated / "runs" / f"{key}.scores.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["score"] for line in lines] == by_hand["scores"]
    assert [line["defect"] for line in lines] == by_hand["defects"]
    assert lines[0]["frame"] == f"weave/test/{lines[0]['defect']}/000.jpg"
    assert set(lines[0]) == {"frame", "label", "defect", "score", "p_value", "is_anomalous"}


def test_the_maps_of_the_worst_frames_are_kept_without_pickles(evaluated, by_hand):
    key = summary_of(evaluated)["runs"][0]["key"]
    with np.load(evaluated / "runs" / f"{key}.maps.npz", allow_pickle=False) as kept:
        index, is_miss, maps = kept["frame_index"], kept["is_miss"], kept["maps"]
    scores, labels = np.array(by_hand["scores"]), np.array(by_hand["labels"])
    assert scores[index[0]] == scores[labels == 0].max()
    assert scores[index[is_miss][0]] == scores[labels == 1].min()
    np.testing.assert_array_equal(maps[0], by_hand["network_maps"][index[0]])


def test_the_kept_pro_curve_rises_to_the_limit_and_holds_the_reported_area(evaluated):
    record = json.loads(next((evaluated / "runs").glob("*padim*seed0*.json")).read_text())
    curve = record["curves"]["pro"]
    assert curve["fpr"] == sorted(curve["fpr"])
    assert curve["overlap"] == sorted(curve["overlap"])
    area = np.trapezoid([0, *curve["overlap"]], [0, *curve["fpr"]]) / 0.3
    assert area == pytest.approx(record["metrics"]["aupro"], abs=0.02)
    assert record["curves"]["pimo"]["fpr"][-1] <= 1e-2


def test_the_table_has_one_row_a_run_with_the_same_figures(evaluated):
    rows = list(csv.DictReader((evaluated / "metrics.csv").open()))
    runs = summary_of(evaluated)["runs"]
    assert len(rows) == len(runs) == 4
    for row, run in zip(rows, runs, strict=True):
        assert (row["detector"], int(row["seed"])) == (run["detector"], run["seed"])
        assert float(row["image_auroc"]) == run["metrics"]["image_auroc"]
        assert row["aupro"] == ("" if run["detector"] == "mvg" else str(run["metrics"]["aupro"]))


def test_the_provenance_says_what_was_done_with_what(evaluated, parts):
    provenance = summary_of(evaluated)["provenance"]
    assert provenance["command"] == (
        f"anomalib-lite evaluate --data mvtec:{parts} --detector padim --detector mvg "
        "--backbone filters --seeds 2 --image-size 64 --max-false-reject 0.01 --out DIR"
    )
    assert provenance["versions"]["anomalib_lite"]
    assert provenance["hardware"][0]["cores"] >= 1
    assert len(provenance["data"][0]["fingerprint_sha256"]) == 64
    page = (evaluated / "metrics.md").read_text()
    for sentence in provenance["protocol"]:
        assert sentence in page


def test_timing_stays_out_of_the_figures(evaluated):
    timing = json.loads((evaluated / "timing.json").read_text())
    runs = summary_of(evaluated)["runs"]
    assert set(timing) == {run["key"] for run in runs}
    for took in timing.values():
        assert took["fit_seconds"] > 0
        assert took["latency_ms_batch_1"] > 0
        assert took["peak_memory_bytes"] > 1e6
    assert "seconds" not in (evaluated / "metrics.json").read_text()


def test_means_over_seeds_carry_the_standard_error_and_over_categories_weigh_them_equally():
    def record(category: str, seed: int, value: float | None) -> dict[str, Any]:
        figures = dict.fromkeys((*metrics_names(), "pixel_auroc"), None)
        figures["image_auroc"] = value
        rate = {"value": 0.5, "num_hits": 1, "num_samples": 2}
        operating = {"false_reject": rate, "miss": rate}
        operating |= {"promised_false_reject": 0.1, "threshold": 1.0}
        operating |= {"best": None, "at": {"0.01": operating, "0.05": operating}}
        return {
            **dict.fromkeys(("data", "kind", "detector", "backbone"), "x"),
            "category": category,
            "seed": seed,
            "metrics": figures,
            "operating": operating,
            "counts": {"train_good": 3},
            "reasons": {},
            "remarks": {},
        }

    records = [record("a", 0, 0.8), record("a", 1, 0.9), record("b", 0, 0.4), record("b", 1, 0.5)]
    first = mean_over_seeds(records)[0]["metrics"]["image_auroc"]
    assert first["mean"] == pytest.approx(0.85)
    assert first["sem"] == pytest.approx(0.05)
    both = mean_over_categories(records)[0]["metrics"]["image_auroc"]
    assert both["mean"] == pytest.approx(0.65)
    assert (both["categories"], both["runs"]) == (2, 2)
    assert mean_over_seeds(records[:1])[0]["metrics"]["image_auroc"]["sem"] is None
    lonely = mean_over_categories([records[0], record("c", 0, None)])[0]["metrics"]["image_auroc"]
    assert (lonely["mean"], lonely["categories"]) == (0.8, 1)


def metrics_names() -> tuple[str, ...]:
    from anomalib_lite.evaluation import METRICS

    return METRICS


def test_loco_families_are_measured_apart_and_averaged(loco_parts, tmp_path, cli: Cli):
    out = tmp_path / "out"
    assert cli("evaluate", "--data", f"loco:{loco_parts}", *FAST, "--out", out) == 0
    run = only_run(out)
    logical, structural = run["families"].values()
    assert list(run["families"]) == ["logical_anomalies", "structural_anomalies"]
    for name in ("image_auroc", "aupro", "au_spro"):
        values = logical["metrics"][name], structural["metrics"][name]
        assert run["metrics"][name] == pytest.approx(sum(values) / 2, abs=1e-15)
    assert logical["metrics"]["au_spro"] != logical["metrics"]["aupro"]
    assert "structural_anomalies" in (out / "metrics.md").read_text()


def test_at_the_network_resolution_masks_are_shrunk_and_spro_is_refused(
    loco_parts, tmp_path, cli: Cli
):
    out = tmp_path / "out"
    words = ("--data", f"loco:{loco_parts}", *FAST, "--map-resolution", "network", "--out", out)
    assert cli("evaluate", *words) == 0
    run = only_run(out)
    assert run["metrics"]["aupro"] is not None
    assert "original frames" in run["reasons"]["au_spro"]


def test_an_anomalous_image_with_an_empty_mask_counts_for_image_figures_only(
    own_parts, tmp_path, cli: Cli
):
    mask = sorted((own_parts / "weave/ground_truth").rglob("*.png"))[0]
    whole, less = tmp_path / "whole", tmp_path / "less"
    words = ("evaluate", "--data", f"mvtec:{own_parts}", *FAST, "--out")
    assert cli(*words, whole) == 0
    cv2.imwrite(str(mask), np.zeros((96, 96), np.uint8))
    assert cli(*words, less) == 0
    before, after = only_run(whole), only_run(less)
    assert after["metrics"]["image_auroc"] == before["metrics"]["image_auroc"]
    assert after["metrics"]["aupro"] != before["metrics"]["aupro"]
    assert len(after["aupimo_per_frame"]) == len(before["aupimo_per_frame"]) - 1


def test_unusable_images_and_masks_are_listed_and_the_exit_status_tells(
    own_parts, tmp_path, cli: Cli, capsys
):
    (own_parts / "weave/test/good/000.jpg").write_bytes(b"no image")
    mask = sorted((own_parts / "weave/ground_truth").rglob("*.png"))[0]
    cv2.imwrite(str(mask), np.full((50, 60), 255, np.uint8))
    out = tmp_path / "out"
    assert cli("evaluate", "--data", f"mvtec:{own_parts}", *FAST, "--out", out) == 3
    run = only_run(out)
    assert list(run["skipped_test_images"]) == ["weave/test/good/000.jpg"]
    assert list(run["unusable_masks"].values()) == ["the mask is 50x60, its frame 96x96"]
    assert run["counts"]["test_good"] == 11
    assert "test/good/000.jpg" in capsys.readouterr().err


def test_a_limit_on_training_images_draws_them_by_the_seed(parts, tmp_path, cli: Cli):
    out = tmp_path / "out"
    words = ("--data", f"mvtec:{parts}", "--limit-train", 5, "--seeds", 2, "--image-size", 64)
    assert cli("evaluate", *words, "--no-pixel", "--detector", "mvg", "--out", out) == 0
    first, second = summary_of(out)["runs"]
    assert first["counts"]["train_good"] == second["counts"]["train_good"] == 5
    assert first["training_fingerprint"] != second["training_fingerprint"]
    assert "--limit-train 5" in summary_of(out)["provenance"]["command"]


def test_maps_come_back_from_the_store_as_they_went_in(tmp_path):
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(4, 6)).astype(np.float32) for _ in range(3)]
    with MapStore(tmp_path) as store:
        assert [store.append(item) for item in maps] == [0, 1, 2]
        for number in (2, 0, 1):
            np.testing.assert_array_equal(store[number], maps[number])
    assert list(tmp_path.iterdir()) == []


def test_a_shrunk_pixel_is_a_defect_where_half_of_it_is():
    mask = np.zeros((4, 4), bool)
    mask[:2, :1] = True
    mask[3, 3] = True
    assert shrink_mask(mask, (2, 2)).tolist() == [[True, False], [False, False]]


def test_one_seed_has_no_standard_error_in_the_table(parts, tmp_path, cli: Cli, capsys):
    out = tmp_path / "out"
    words = ("--data", f"mvtec:{parts}", *FAST, "--detector", "mvg", "--out", out)
    assert cli("evaluate", *words) == 0
    shown = capsys.readouterr().out
    assert "±" not in shown
    assert f"{100 * only_run(out)['metrics']['image_auroc']:.1f}" in shown
    assert not math.isnan(only_run(out)["metrics"]["image_auroc"])
