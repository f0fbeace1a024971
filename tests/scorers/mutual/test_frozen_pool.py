"""The frozen pool: single frames judged by kept images, out-of-fold scores, files."""

import numpy as np
import pytest
import torch
from musc_reference import tokens
from scorer_references import MadeStream, layout_of

from anomalib_lite import Detector
from anomalib_lite.edge import EdgeModel, FitError
from anomalib_lite.scorers import CrossFit, FitContext, create_scorer

SIZE, GRID = (40, 48), (5, 6)
LAYERS = [("a", 12, 8), ("b", 12, 8)]
ROI = np.zeros(SIZE, bool)
ROI[9:30, 5:37] = True


def stream_of(images, seed=0, roi=None, **options):
    return MadeStream(layout_of(SIZE, LAYERS, roi), images, seed=seed, **options)


def fitted(stream, **settings):
    scorer = create_scorer("musc", **settings)
    scorer.build(stream.layout)
    scorer.fit(stream, FitContext())
    return scorer


@pytest.mark.parametrize("roi", [None, ROI], ids=["whole frame", "region"])
def test_a_frame_is_scored_by_the_lowest_third_of_the_kept_images(roi):
    pool, new = stream_of(12, roi=roi), stream_of(2, seed=9, roi=roi)
    scorer = fitted(pool, references=7, degrees=[1, 3], interval=0.3)
    kept = scorer.frozen.origin_.tolist()
    assert len(kept) == 7
    inside = pool.layout.cell_share(GRID).numpy() > 0
    expected = np.zeros((2, *GRID))
    for name in ("a", "b"):
        own, others = (s.all_features().maps[name].double().numpy() for s in (new, pool))
        for degree in (1, 3):
            for i, maps in enumerate(own):
                rows = tokens(maps, degree, inside)
                nearest = [
                    np.linalg.norm(rows[:, None] - tokens(others[j], degree, inside), axis=2)
                    for j in kept
                ]
                lowest = np.sort([item.min(axis=1) for item in nearest], axis=0)[:2]
                expected[i, inside] += lowest.mean(axis=0) / 4
    scores = scorer(new.all_features())
    np.testing.assert_allclose(scores.image.numpy(), expected.max(axis=(1, 2)), atol=1e-5)
    corners = scores.map[:, :: SIZE[0] - 1, :: SIZE[1] - 1].numpy()
    np.testing.assert_allclose(corners, expected[:, ::4, ::5], atol=1e-5)


def test_held_out_scores_are_those_of_a_fit_without_the_fold():
    stream, folds = stream_of(15), np.arange(15) % 3
    scorer = create_scorer("musc", references=4)
    assert scorer.can(CrossFit)
    scorer.build(stream.layout)
    found = scorer.cross_fit(stream, folds, FitContext())
    scores = dict(zip(found.indices.tolist(), found.image.tolist(), strict=True))
    for fold in range(3):
        alone = fitted(stream.subset(np.flatnonzero(folds != fold)), references=4)
        for index in np.flatnonzero(folds == fold).tolist():
            own = float(alone(stream.features(index)).image[0])
            assert scores[index] == pytest.approx(1.0001 * own, abs=1e-6)
    assert scorer.frozen.origin_.tolist() == fitted(stream, references=4).frozen.origin_.tolist()


def test_a_small_pool_is_kept_whole_and_an_empty_one_refused():
    assert fitted(stream_of(3)).frozen.origin_.tolist() == [0, 1, 2]
    with pytest.raises(FitError, match="no readable image"):
        fitted(stream_of(2, missing=(0, 1)))


def test_before_a_fit_single_frames_are_refused_with_advice():
    scorer = create_scorer("musc")
    scorer.build(stream_of(1).layout)
    with pytest.raises(FitError, match="score-pool"):
        scorer(stream_of(1).features(0))


def test_files_hold_the_frozen_pool(good_frames, scratched, tmp_path):
    detector = Detector("musc", image_size=64, degrees=[1, 3], references=5).fit(good_frames)
    assert detector.export(tmp_path / "part.onnx").parity.passed
    loaded = Detector.load(detector.save(tmp_path / "part.safetensors"))
    edge = EdgeModel(tmp_path / "part.onnx")
    for frame in scratched:
        assert loaded.predict(frame).score == detector.predict(frame).score
        assert edge.predict(frame).score == pytest.approx(loaded.predict(frame).score, rel=1e-3)
    assert torch.equal(loaded.scorer.frozen.origin_, detector.scorer.frozen.origin_)
