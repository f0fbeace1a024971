"""Search in a window against brute force, its selection, its choice, its files."""

import numpy as np
import pytest
import torch
from scorer_references import MadeStream, enlarged_and_blurred, layout_of, state_of

from anomalib_lite import Detector
from anomalib_lite.edge import EdgeModel, SettingsError
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.scorers import FitContext, create_scorer
from anomalib_lite.scorers.memory_bank import folds as patchcore_folds
from anomalib_lite.scorers.memory_bank.position_window import (
    WINDOWS,
    WindowSearch,
    blocks_of_cells,
    by_tile,
    choose_window,
)

CONTEXT = FitContext(seed=0)
SIZE = (80, 104)
GRID = (10, 13)
LAYERS = [("b", 6, 8), ("c", 8, 16)]
ROI = np.zeros(SIZE, bool)
ROI[9:61, 5:70] = True


class PlacedStream(MadeStream):
    """Good images that look different at each place; each image may be moved by some cells."""

    moved = 0

    def features(self, index):
        features = super().features(index)
        generator = torch.Generator().manual_seed(77)
        for maps in features.maps.values():
            scale = 8 * torch.randn(maps.shape[1:], generator=generator)
            maps += scale.roll(index * self.moved, dims=2)
        return features

    def subset(self, indices):
        narrowed = PlacedStream(self.layout, self.images, seed=self.seed, indices=indices)
        narrowed.moved = self.moved
        return narrowed


def stream_of(images, kind=MadeStream, seed=0, roi=None, **options):
    return kind(layout_of(SIZE, LAYERS, roi), images, seed=seed, **options)


def built(roi=None, **settings):
    scorer = create_scorer("patchcore", **settings)
    scorer.build(layout_of(SIZE, LAYERS, roi))
    return scorer


def fitted(stream, **settings):
    scorer = built(stream.layout.roi, **settings)
    scorer.fit(stream, CONTEXT)
    return scorer


def chebyshev(one, other, columns):
    rows = abs(one[:, None] // columns - other[None] // columns)
    return np.maximum(rows, abs(one[:, None] % columns - other[None] % columns))


def brute_force(queries, bank, cells, window, grid_hw):
    """Distance of each patch to the nearest bank row in its window, float64 `(N, h, w)`."""
    away = torch.cdist(queries.double(), bank.double())
    place = np.arange(grid_hw[0] * grid_hw[1])
    outside = torch.from_numpy(chebyshev(place, cells, grid_hw[1]) > window)
    return away.masked_fill(outside, torch.inf).amin(dim=2).reshape(-1, *grid_hw)


@pytest.mark.parametrize("window", [0, 1, 2, 5, 30])
@pytest.mark.parametrize("grid_hw", [(10, 13), (8, 8), (3, 17), (1, 1)])
def test_the_nearest_row_in_a_window_is_that_of_brute_force(window, grid_hw):
    cells = grid_hw[0] * grid_hw[1]
    generator = torch.Generator().manual_seed(window)
    place = torch.randint(cells, (3 * cells,), generator=generator).numpy()
    place = np.concatenate([place, np.arange(cells)])
    place = place[by_tile(place, grid_hw)]
    bank = torch.randn(len(place), 5, generator=generator)
    queries = torch.randn(2, cells, 5, generator=generator)
    index = WindowSearch(place, grid_hw, window)(
        queries.reshape(-1, 5), bank, bank.square().sum(dim=1)
    )
    found = (queries.reshape(-1, 5) - bank[index]).norm(dim=1).reshape(2, *grid_hw)
    expected = brute_force(queries, bank, place, window, grid_hw)
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("roi", [None, ROI])
@pytest.mark.parametrize("window", [0, 1, 2, 4])
def test_scores_are_the_distances_to_the_nearest_kept_patch_in_the_window(window, roi):
    train, test = stream_of(6, roi=roi), stream_of(3, seed=9, roi=roi)
    scorer = fitted(train, coreset_ratio=0.3, window=window)
    queries = scorer.patches(test.all_features().maps)
    bank = scorer.bank_ + scorer.mean_
    cells = scorer.origin_[:, 1].numpy()
    good = scorer.patches(train.all_features().maps)
    torch.testing.assert_close(bank, good[scorer.origin_[:, 0], scorer.origin_[:, 1]])
    expected = brute_force(queries, bank, cells, window, GRID)
    expected = torch.hypot(expected, scorer.floor_.to(expected.dtype))
    inside = scorer.layout.cell_share(GRID) > 0
    assert torch.isfinite(expected[:, inside]).all()
    found = scorer(test.all_features())
    image = expected[:, inside].amax(dim=1)
    np.testing.assert_allclose(found.image.numpy(), image.numpy(), rtol=1e-4)
    if roi is None:
        maps = enlarged_and_blurred(expected.numpy(), SIZE, 4.0)
        np.testing.assert_allclose(found.map.numpy(), maps, rtol=1e-4, atol=1e-4)
    else:
        assert not found.map[:, torch.from_numpy(~roi)].any()


@pytest.mark.parametrize("window", [0, 1, 2, 3, 6])
def test_cells_of_a_block_lie_in_each_others_windows(window):
    blocks = blocks_of_cells(GRID, window)
    for block in np.unique(blocks):
        inside = np.flatnonzero(blocks == block)
        assert chebyshev(inside, inside, GRID[1]).max() <= window
    assert len(np.unique(blocks)) == -(-GRID[0] // (window + 1)) * -(-GRID[1] // (window + 1))


def test_a_plain_region_keeps_a_row_in_every_window():
    class HalfEmpty(MadeStream):
        def features(self, index):
            features = super().features(index)
            for maps in features.maps.values():
                maps[:, :, :, : maps.shape[3] // 2] = 1.0
            return features

    scorer = fitted(stream_of(5, HalfEmpty), rows=60, window=2)
    assert len(scorer.bank_) == 60
    blocks = blocks_of_cells(GRID, 2)
    assert set(blocks[scorer.origin_[:, 1]]) == set(blocks)


def test_a_budget_that_leaves_windows_empty_is_refused():
    with pytest.raises(SettingsError, match="choose 35 rows or more"):
        built(rows=34, window=1)
    assert built(rows=35, window=1).window == 1
    assert len(fitted(stream_of(4), coreset_ratio=0.01, window=1).bank_) == 35


@pytest.mark.parametrize(
    ("rises", "chosen"),
    [((0.5, 0.1, 0.0), 2), ((0.15, 0.0, 0.0), 1), ((0.9, 0.9, 0.3), None), ((0.0,), 1)],
)
def test_the_smallest_window_that_raises_good_scores_by_less_than_a_small_effect(rises, chosen):
    whole = np.array([1.0, 3, 1, 3], np.float32)
    tried = ((window, whole + np.float32(rise)) for window, rise in enumerate(rises, start=1))
    assert choose_window(whole, tried) == chosen


@pytest.mark.parametrize(("moved", "chosen"), [(0, 1), (2, None)])
def test_auto_takes_a_window_for_parts_that_lie_the_same_way_only(moved, chosen, monkeypatch):
    monkeypatch.setattr(patchcore_folds, "WINDOWS", (1, 2))
    stream = stream_of(30, PlacedStream)
    stream.moved = moved
    scorer = fitted(stream, window="auto", coreset_ratio=0.3)
    assert scorer.fitted_window == chosen
    assert int(scorer.window_) == (-1 if chosen is None else chosen)


def test_auto_takes_the_whole_bank_when_there_are_too_few_images():
    assert fitted(stream_of(6, PlacedStream), window="auto").fitted_window is None


def test_auto_skips_windows_that_the_budget_would_leave_empty():
    scorer = fitted(stream_of(30, PlacedStream), window="auto", rows=20)
    assert scorer.fitted_window in {None, *WINDOWS[1:]}


@pytest.mark.parametrize("settings", [{"coreset_ratio": 0.2}, {"rows": 100}, {"rows": 40}])
def test_held_out_scores_in_small_blocks_are_those_of_refits(settings):
    stream, folds = stream_of(20, PlacedStream, batch=6), np.arange(20) % 5
    scorer = built(window=1, **settings)
    held_out = scorer.cross_fit(stream, folds, CONTEXT)
    assert stream.passes == 1
    for name, value in state_of(fitted(stream_of(20, PlacedStream), window=1, **settings)).items():
        assert torch.equal(value, state_of(scorer)[name]), name
    by_index = dict(zip(held_out.indices.tolist(), held_out.image.tolist(), strict=True))
    ratios = []
    for fold in range(5):
        refit = fitted(stream.subset(np.flatnonzero(folds != fold)), window=1, **settings)
        inside = np.flatnonzero(folds == fold)
        expected = refit(stream.subset(inside).all_features()).image.numpy()
        ratios.extend([by_index[index] for index in inside] / expected)
    # The scale of the whole numbers comes from all images, in a refit from those of the others.
    assert np.mean(np.isclose(ratios, 1, rtol=1e-4)) >= 0.8
    assert np.mean(ratios) == pytest.approx(1, abs=0.01)


def test_partial_fit_keeps_the_window_and_the_budget():
    scorer = fitted(stream_of(8), rows=60, window=1)
    new = stream_of(4, seed=5)
    scorer.partial_fit(new, CONTEXT)
    assert scorer.fitted_window == 1
    assert len(scorer.bank_) == 60
    bank, cells = scorer.bank_ + scorer.mean_, scorer.origin_[:, 1].numpy()
    expected = brute_force(scorer.patches(new.all_features().maps), bank, cells, 1, GRID)
    found = scorer(new.all_features()).image
    torch.testing.assert_close(found.double(), expected.flatten(1).amax(dim=1), rtol=1e-4, atol=0)


def test_the_evidence_comes_from_the_window():
    scorer = fitted(stream_of(5), coreset_ratio=0.3, window=1)
    test = stream_of(1, seed=9)
    for cell in [(3, 3), (40, 50), (79, 103)]:
        found = scorer.explain(test.features(0), cell)
        (row, column), (top, left) = found["query"], found["cell"]
        assert max(abs(row - top), abs(column - left)) <= 1


@pytest.mark.parametrize(
    "settings", [{"window": 1}, {"window": 2, "reweight": True}, {"window": "auto", "rows": 50}]
)
def test_files_hold_the_window(settings, good_frames, scratched, tmp_path):
    roi = np.zeros((64, 64), bool)
    roi[4:60, 8:60] = True
    spec = InputSpec(height=64, width=64, roi=roi)
    detector = Detector("patchcore", image_size=spec, **settings).fit(good_frames)
    assert detector.export(tmp_path / "part.onnx").parity.passed
    loaded = Detector.load(detector.save(tmp_path / "part.safetensors"))
    assert loaded.scorer.fitted_window == detector.scorer.fitted_window
    edge = EdgeModel(tmp_path / "part.onnx")
    for frame in scratched:
        expected = detector.predict(frame)
        assert loaded.predict(frame).score == expected.score
        assert edge.predict(frame).score == pytest.approx(expected.score, rel=1e-4)


@pytest.mark.parametrize("window", [-1, 1.5, "wide", True])
def test_impossible_windows_are_refused(window):
    with pytest.raises(SettingsError, match="window"):
        create_scorer("patchcore", window=window)
