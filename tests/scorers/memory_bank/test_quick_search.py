"""Maps from a few principal directions: bounds, exact image scores, export, older settings."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scorer_references import MadeStream, layout_of

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers import FitContext, create_scorer
from anomalib_lite.scorers.memory_bank.nearest import centred_bank
from anomalib_lite.scorers.memory_bank.patch_vectors import _grouped
from anomalib_lite.scorers.memory_bank.quick_search import (
    QUICK_FLOOR,
    quick_bank,
    quick_distances,
)

CONTEXT = FitContext(seed=0)
SIZE = (128, 96)
GRID = (16, 12)
LAYERS = [("b", 16, 8), ("c", 32, 16)]
ROI = np.zeros(SIZE, bool)
ROI[8:104, 16:96] = True


def rows_and_queries(seed, rows, queries, width):
    """A bank with fewer strong directions than numbers, and queries near it and far."""
    rng = np.random.default_rng(seed)
    strength = np.linspace(1, 0.02, width) ** 2
    bank = rng.standard_normal((rows, width)) * strength
    near = bank[rng.integers(rows, size=queries)] + 0.1 * rng.standard_normal((queries, width))
    far = rng.standard_normal((queries, width))
    return torch.tensor(bank).float(), torch.tensor(np.stack([near, far])).float()


def prepared(bank, directions):
    found = centred_bank(bank)
    return found, quick_bank(found["bank_"], found["squares_"], directions)


def slow(queries, bank, turn, stretch, floor):
    """The formula row by row in float64."""
    wide, rows, turn = queries.double(), bank.double(), turn.double()
    along, along_rows = wide @ turn.T, rows @ turn.T

    def rest(whole, part):
        return (whole.square().sum(-1) - part.square().sum(-1)).clamp(min=0).sqrt()

    outside, outside_rows = rest(wide, along), rest(rows, along_rows)
    apart = (along[..., None, :] - along_rows).square().sum(-1)
    bound = (apart + (outside[..., None] - outside_rows).square()).amin(-1)
    missed = bound * outside**2 / (bound + outside**2 + 1e-30)
    distance = bound + float(stretch) * missed
    return (distance**2 + (QUICK_FLOOR * float(floor)) ** 4) ** 0.25


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    rows=st.sampled_from([2, 7, 255, 256, 257, 600]),
    queries=st.integers(1, 9),
    width=st.integers(3, 24),
    share=st.floats(0.1, 1),
)
def test_quick_distances_are_the_formula_and_without_stretch_never_above_the_exact_ones(
    seed, rows, queries, width, share
):
    bank, asked = rows_and_queries(seed, rows, queries, width)
    directions = max(1, int(share * width))
    found, quick = prepared(bank, directions)
    around = asked - found["mean_"]
    parts = (quick["turn_"], quick["coordinates_"])
    result = quick_distances(around, *parts, quick["stretch_"], found["floor_"])
    wanted = slow(around, found["bank_"], quick["turn_"], quick["stretch_"], found["floor_"])
    torch.testing.assert_close(result.double(), wanted, rtol=2e-3, atol=1e-4)
    bound = quick_distances(around, *parts, torch.zeros(()), torch.zeros(()))
    exact = torch.cdist(asked.double(), bank.double()).amin(dim=2)
    assert (bound.double() <= exact + 5e-3).all()
    assert float(quick["stretch_"]) >= 0


def test_all_directions_give_the_exact_distances():
    bank, asked = rows_and_queries(0, 700, 20, 12)
    found, quick = prepared(bank, 12)
    zero = torch.zeros(())
    around = asked - found["mean_"]
    result = quick_distances(around, quick["turn_"], quick["coordinates_"], zero, zero)
    exact = torch.cdist(asked.double(), bank.double()).amin(dim=2)
    torch.testing.assert_close(result.double(), exact, rtol=1e-3, atol=1e-3)


def test_the_turn_keeps_lengths_and_its_directions_carry_the_bank():
    bank, _ = rows_and_queries(1, 800, 1, 16)
    found, quick = prepared(bank, 5)
    turn = quick["turn_"]
    torch.testing.assert_close(turn @ turn.T, torch.eye(5), rtol=0, atol=1e-5)
    carried = (found["bank_"] @ turn.T).square().sum(0)
    own = torch.linalg.svdvals(found["bank_"])[:5].square()
    torch.testing.assert_close(carried, own, rtol=1e-3, atol=0)


def test_equal_rows_and_a_query_in_the_bank_give_the_floor():
    bank, _ = rows_and_queries(2, 300, 1, 10)
    bank = torch.cat([bank, bank])
    found, quick = prepared(bank, 4)
    given_back = quick_distances(
        found["bank_"][None],
        quick["turn_"],
        quick["coordinates_"],
        quick["stretch_"],
        found["floor_"],
    )
    floor = QUICK_FLOOR * found["floor_"]
    torch.testing.assert_close(given_back, floor.expand_as(given_back), rtol=1e-4, atol=0)


def test_a_bank_of_one_point_has_no_stretch():
    _, quick = prepared(torch.ones(600, 8), 3)
    assert float(quick["stretch_"]) == 0
    assert all(torch.isfinite(value).all() for value in quick.values())


def fitted(roi=None, images=6, **given):
    scorer = create_scorer("patchcore", **{"rows": 600, "directions": 6, **given})
    stream = MadeStream(layout_of(SIZE, LAYERS, roi), images, seed=0)
    scorer.build(stream.layout)
    scorer.fit(stream, CONTEXT)
    return scorer


def asked_of(scorer, roi=None):
    stream = MadeStream(layout_of(SIZE, LAYERS, roi), 3, seed=9)
    return scorer.patches(stream.all_features().maps)


@pytest.mark.parametrize("roi", [None, ROI])
@pytest.mark.parametrize("kind", [{}, {"image_score": "max"}, {"top_share": 0.05}])
def test_the_image_score_comes_from_exact_distances_of_the_largest_cells(roi, kind):
    scorer = fitted(roi, **kind)
    patches = asked_of(scorer, roi)
    assert scorer.quick
    found = scorer.scores(patches)
    exact = torch.cdist(patches.double(), (scorer.bank_ + scorer.mean_).double()).amin(dim=2)
    exact = (exact**2 + scorer.floor_.double() ** 2).sqrt()
    about = slow(patches - scorer.mean_, scorer.bank_, scorer.turn_, scorer.stretch_, scorer.floor_)
    inside = scorer.inside.flatten().double()
    count = scorer.summary.count
    place = (about * inside).topk(max(32, 3 * count), dim=1).indices
    checked = (exact * inside).gather(1, place).topk(count, dim=1).values.mean(dim=1)
    np.testing.assert_allclose(found.image.numpy(), checked.numpy(), rtol=1e-4)
    whole = (exact * inside).topk(count, dim=1).values.mean(dim=1)
    assert (found.image.double() <= whole * (1 + 1e-5)).all()
    wanted = scorer.enlarge((about * inside).float().reshape(-1, *GRID))
    np.testing.assert_allclose(found.map.numpy(), wanted.numpy(), rtol=1e-3, atol=1e-4)


def test_the_nearest_good_patch_of_an_explanation_is_the_exact_one():
    scorer = fitted()
    stream = MadeStream(layout_of(SIZE, LAYERS), 1, seed=9)
    features = stream.all_features()
    patch = scorer.patches(features.maps)[0, 5 * GRID[1] + 7]
    away = (scorer.bank_ + scorer.mean_ - patch).double().norm(dim=1)
    told = scorer.explain(features, (5 * 8 + 3, 7 * 8 + 3))
    assert told["image"] == int(scorer.origin_[away.argmin(), 0])
    wanted = float((away.min() ** 2 + float(scorer.floor_) ** 2) ** 0.5)
    assert told["distance"] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    "exact",
    [{"directions": None}, {"reweight": True}, {"window": 2}, {"rows": 500}, {"directions": 99}],
)
def test_searches_that_need_the_whole_bank_use_it(exact):
    scorer = fitted(**exact)
    assert not scorer.quick
    patches = asked_of(scorer)
    if not {"reweight", "window"} & set(exact):
        away = torch.cdist(patches.double(), (scorer.bank_ + scorer.mean_).double()).amin(dim=2)
        wanted = (away**2 + scorer.floor_.double() ** 2).sqrt().amax(dim=1)
        scorer.summary.count = 1
        np.testing.assert_allclose(scorer.scores(patches).image.numpy(), wanted.numpy(), rtol=1e-4)


def test_a_detector_from_before_the_setting_searches_the_whole_bank():
    assert create_scorer("patchcore").directions == 48
    assert type(create_scorer("patchcore")).settings_before["directions"] is None


@pytest.mark.parametrize("wrong", [0, -3, 1.5, True])
def test_impossible_directions_are_refused(wrong):
    with pytest.raises(SettingsError, match="directions"):
        create_scorer("patchcore", directions=wrong)


def test_held_out_scores_are_those_of_a_refit_without_the_fold():
    stream = MadeStream(layout_of(SIZE, LAYERS), 9, seed=0)
    scorer = create_scorer("patchcore", rows=600, directions=6)
    scorer.build(stream.layout)
    folds = np.arange(9) % 3
    held_out = scorer.cross_fit(stream, folds, CONTEXT)
    final = scorer.turn_.clone()
    again = create_scorer("patchcore", rows=600, directions=6)
    again.build(stream.layout)
    again.fit(stream.subset(np.flatnonzero(folds != 1)), CONTEXT)
    assert again.quick
    patches = scorer.patches(stream.all_features().maps)[folds == 1]
    place = [held_out.indices.tolist().index(index) for index in np.flatnonzero(folds == 1)]
    refit = again.scores(patches).image.numpy()
    np.testing.assert_allclose(held_out.image[place], refit, rtol=0.05)
    scorer.fit(stream, CONTEXT)
    torch.testing.assert_close(scorer.turn_, final, rtol=0, atol=1e-5)


@pytest.mark.parametrize("inputs", [1, 2, 4])
def test_channels_that_weigh_alike_are_added_before_the_convolution(inputs):
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 8 * inputs, 5, 6, generator=rng)
    alike = torch.randn(8, 1, 3, 3, generator=rng).expand(-1, inputs, -1, -1).contiguous()
    other = torch.randn(8, inputs, 3, 3, generator=rng)
    for kernel in (alike, other):
        wanted = F.conv2d(maps, kernel, padding=1, groups=8)
        torch.testing.assert_close(_grouped(maps, kernel, (5, 6)), wanted, rtol=1e-4, atol=1e-5)


def test_file_and_graph_hold_the_same_quick_search(good_frames, tmp_path):
    frames = [np.kron(frame, np.ones((2, 2, 1), np.uint8)) for frame in good_frames]
    detector = Detector("patchcore", image_size=128, rows=600, directions=12)
    detector.fit(frames)
    assert detector.scorer.quick
    detector.save(tmp_path / "part.safetensors")
    again = Detector.load(tmp_path / "part.safetensors")
    assert again.scorer.settings()["directions"] == 12
    report = detector.export(tmp_path / "part.onnx")
    assert report.parity.passed
    frame = np.random.default_rng(0).integers(0, 255, frames[0].shape, np.uint8)
    here, there = detector.predict(frame), EdgeModel(tmp_path / "part.onnx").predict(frame)
    assert again.predict(frame).score == here.score
    assert there.score == pytest.approx(here.score, rel=1e-4)
    peak = here.anomaly_map.max()
    np.testing.assert_allclose(there.anomaly_map, here.anomaly_map, rtol=0, atol=1e-4 * peak)


def test_photographs_that_lie_in_the_bank_pass_the_gate(good_frames, tmp_path):
    frames = [np.kron(frame, np.ones((2, 2, 1), np.uint8)) for frame in good_frames[:3]]
    detector = Detector("patchcore", image_size=128, rows=768, directions=12)
    detector.fit(frames)
    assert detector.scorer.quick
    assert len(detector.scorer.bank_) == 768
    assert detector.export(tmp_path / "part.onnx").parity.passed
    floor = float(detector.scorer.floor_)
    found = detector.predict(frames[0])
    assert found.score == pytest.approx(floor, rel=1e-2)
    assert found.anomaly_map.max() == pytest.approx(QUICK_FLOOR * floor, rel=1e-4)


def test_learning_on_turns_the_new_bank():
    scorer = fitted()
    before = scorer.turn_.clone()
    scorer.partial_fit(MadeStream(layout_of(SIZE, LAYERS), 4, seed=5), CONTEXT)
    wanted = quick_bank(scorer.bank_, scorer.squares_, 6)
    assert not torch.equal(scorer.turn_, before)
    for name, value in wanted.items():
        assert torch.equal(getattr(scorer, name), value)


def test_a_bank_that_is_put_in_exactly_leaves_nothing_of_the_quick_search():
    scorer = fitted()
    bank = (scorer.bank_ + scorer.mean_, scorer.origin_.numpy())
    scorer.take_bank(bank, None, exact=True)
    assert not scorer.quick
    assert not {"turn_", "coordinates_", "stretch_"} & set(scorer.state_dict())
