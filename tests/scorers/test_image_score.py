"""The image score: largest value, or mean of the largest."""

import numpy as np
import onnxruntime
import pytest
import torch

from anomalib_lite import Detector, EdgeModel, InputSpec
from anomalib_lite.edge import SettingsError
from anomalib_lite.scorers import create_scorer
from anomalib_lite.scorers.image_score import ImageScore
from anomalib_lite.scorers.registry import settings_from_file


@pytest.mark.parametrize(
    ("kind", "share", "cells", "expected"),
    [
        ("max", 0.5, 8, [7.0, 3.0]),
        ("top", 0.01, 8, [7.0, 3.0]),  # never less than one
        ("top", 0.25, 8, [6.5, 3.0]),
        ("top", 0.5, 8, [5.5, 3.0]),
        ("top", 1.0, 8, [3.5, 3.0]),
        ("top", 0.5, 4, [6.5, 3.0]),  # half of the cells inside
    ],
)
def test_the_mean_of_the_largest_cells(kind, share, cells, expected):
    values = torch.stack([torch.arange(8.0), torch.full((8,), 3.0)]).view(2, 2, 4)
    assert ImageScore(kind, share, cells)(values).tolist() == expected


def test_one_odd_cell_moves_the_mean_of_the_largest_by_its_share_only():
    calm, odd = torch.ones(1, 20, 20), torch.ones(1, 20, 20)
    odd[0, 3, 4] = 9.0
    top, largest = ImageScore("top", 0.01, 400), ImageScore("max", 0.01, 400)
    assert float(top(odd) - top(calm)) == pytest.approx(8 / 4)
    assert float(largest(odd) - largest(calm)) == 8


@pytest.mark.parametrize(
    "name", ["patchcore", "knn", "padim", "stfpm", "efficientad", "reconstruction"]
)
@pytest.mark.parametrize(
    "settings", [{"image_score": "mean"}, {"top_share": 0.0}, {"top_share": 1.5}, {"top_share": -1}]
)
def test_impossible_image_scores_are_refused(name, settings):
    with pytest.raises(SettingsError, match=r"image_score|top_share"):
        create_scorer(name, **settings)


def test_older_files_keep_the_largest_distance():
    assert settings_from_file("patchcore", {"rows": 9})["image_score"] == "max"
    assert settings_from_file("patchcore", {"image_score": "top"})["image_score"] == "top"
    found = settings_from_file("patchcore+mvg", {"trust": "equal"})
    assert found["patchcore.image_score"] == "max"


@pytest.mark.parametrize("settings", [{}, {"top_share": 0.1}, {"image_score": "max"}])
def test_every_engine_gives_the_fitted_models_score_inside_a_region(
    settings, good_frames, scratched, tmp_path
):
    roi = np.zeros((64, 64), bool)
    roi[8:56, 4:60] = True
    detector = Detector("patchcore", image_size=InputSpec(height=64, width=64, roi=roi), **settings)
    assert detector.fit(good_frames).export(tmp_path / "part.onnx").parity.passed
    session = onnxruntime.InferenceSession(str(tmp_path / "part.onnx"))
    assert {item.name for item in session.get_outputs()} == {"score", "anomaly_map"}
    edge = EdgeModel(tmp_path / "part.onnx")
    again = Detector.load(detector.save(tmp_path / "part.safetensors"))
    for frame in scratched:
        expected = detector.predict(frame).score
        assert again.predict(frame).score == expected
        assert edge.predict(frame).score == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("padim", {"backbone": "filters", "num_features": 8}),
        ("padim", {"backbone": "filters", "num_features": 8, "compact": 1}),
        ("knn", {"backbone": "filters", "mode": "patches"}),
        ("stfpm", {"backbone": "pdn_edge", "steps": 1}),
        ("efficientad", {"steps": 1}),
        ("reconstruction", {"steps": 1}),
    ],
)
def test_every_scorer_with_a_map_can_take_the_mean_of_its_largest_values(
    name, settings, good_frames, scratched, tmp_path
):
    top = Detector(name, image_size=64, image_score="top", top_share=0.25, **settings)
    assert top.fit(good_frames).export(tmp_path / "part.onnx").parity.passed
    largest = Detector(name, image_size=64, image_score="max", **settings).fit(good_frames)
    frame = scratched[0]
    assert top.predict(frame).score < largest.predict(frame).score
    np.testing.assert_allclose(
        top.predict(frame).network_map, largest.predict(frame).network_map, rtol=1e-5
    )
