"""Greedy k-centre against the plain loop, and the bounded buffer."""

import numpy as np
import pytest
import torch

from anomalib_lite.scorers.memory_bank import coreset, coreset_buffer
from anomalib_lite.scorers.memory_bank import nearest as neighbours
from anomalib_lite.scorers.memory_bank.coreset import greedy_coreset, greedy_with_radii
from anomalib_lite.scorers.memory_bank.coreset_blocks import greedy_by_block
from anomalib_lite.scorers.memory_bank.coreset_buffer import CoresetBuffer
from anomalib_lite.scorers.memory_bank.projection import (
    PROJECTION,
    RandomDirections,
    WholeNumbers,
)
from anomalib_lite.system import spill


def plain_greedy(points, count):
    """The textbook loop in whole numbers: one running minimum, one full pass per pick."""
    points = points.numpy().astype(np.int64)
    around = points - points.mean(axis=0)
    chosen = [int(np.argmax((around**2).sum(axis=1)))]
    nearest = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < count and nearest.max() > 0:
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return chosen


def whole_numbers(data, seed=0, first=None, sample=None):
    """As a buffer does it: directions from the first rows, the scale from a sample of all."""
    project = RandomDirections(data if first is None else first, seed)
    points = project(data)
    scale = WholeNumbers(points, 1.0) if sample is None else WholeNumbers(project(sample))
    return scale(points)


def rows(n, d, seed=0, clusters=7):
    generator = torch.Generator().manual_seed(seed)
    centres = 6 * torch.randn(clusters, d, generator=generator)
    own = torch.randint(clusters, (n,), generator=generator)
    return centres[own] + torch.randn(n, d, generator=generator)


def test_picks_on_a_line_are_the_ends_then_the_middles():
    line = torch.tensor([[0.0], [1], [2], [3], [4], [5], [6], [7], [9]])
    assert greedy_coreset(line, 4).tolist() == [8, 0, 4, 2]


def test_ties_go_to_the_lower_index():
    square = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1], [0, 0]])
    assert greedy_coreset(square, 5).tolist() == [0, 2, 1, 3, 4]


def test_copies_are_picked_once():
    points = torch.tensor([[3.0, 0], [3, 0], [0, 0], [0, 0], [0, 0]])
    assert greedy_coreset(points, 5).tolist() == [0, 2]
    assert greedy_coreset(torch.zeros(4, 2), 3).tolist() == [0]


@pytest.mark.parametrize("count", [0, -1])
def test_nothing_is_picked_when_nothing_is_asked(count):
    assert greedy_coreset(torch.ones(3, 2), count).tolist() == []
    assert greedy_coreset(torch.ones(0, 2), 2).tolist() == []


@pytest.mark.parametrize(("n", "d", "count"), [(1, 3, 1), (50, 4, 50), (900, 20, 300), (300, 2, 9)])
@pytest.mark.parametrize("pool", [16, 64, 4096])
def test_picks_are_those_of_the_plain_loop(n, d, count, pool, monkeypatch):
    monkeypatch.setattr(coreset, "_POOL", pool)
    monkeypatch.setattr(coreset, "_ROWS", 32)
    points = whole_numbers(rows(n, d))
    assert greedy_coreset(points, count).tolist() == plain_greedy(points, count)


@pytest.mark.parametrize("pool", [16, 200])
@pytest.mark.parametrize("worthwhile", [0.0, 0.25, 2.0])
def test_picks_by_groups_are_those_of_the_plain_loop(pool, worthwhile, monkeypatch):
    monkeypatch.setattr(coreset, "_POOL", pool)
    monkeypatch.setattr(coreset, "_GROUPS", 8)
    monkeypatch.setattr(coreset, "_FIRST_GROUPED", 16)
    monkeypatch.setattr(coreset, "_PAUSE", 2)
    monkeypatch.setattr(coreset, "_WORTHWHILE", worthwhile)
    points = whole_numbers(rows(2000, 30))
    assert greedy_coreset(points, 400).tolist() == plain_greedy(points, 400)


def test_radii_shrink_and_are_the_distances_to_the_earlier_picks():
    points = whole_numbers(rows(300, 8))
    chosen, radii = greedy_with_radii(points, 40)
    assert radii[0] == np.inf
    picked = points[torch.from_numpy(chosen)].double()
    for rank in range(1, 40):
        nearest = (picked[rank] - picked[:rank]).square().sum(dim=1).min()
        assert radii[rank] == float(nearest)
    assert (np.diff(radii[1:]) <= 0).all()


def greedy_with_infinite_walls(points, block, count):
    """Plain loop: other blocks are infinitely far; each block starts with its own farthest."""
    points = points.numpy().astype(np.int64)
    nearest = np.full(len(points), np.iinfo(np.int64).max)
    chosen = []
    for name in np.unique(block):
        inside = np.flatnonzero(block == name)
        away = ((points[inside] - points[inside].mean(axis=0)) ** 2).sum(axis=1)
        chosen.append(int(inside[np.argmax(away)]))
    for pick in chosen:
        own = block == block[pick]
        nearest[own] = np.minimum(nearest[own], ((points[own] - points[pick]) ** 2).sum(axis=1))
    while len(chosen) < count and nearest.max() > 0:
        pick = int(np.argmax(nearest))
        chosen.append(pick)
        own = block == block[pick]
        nearest[own] = np.minimum(nearest[own], ((points[own] - points[pick]) ** 2).sum(axis=1))
    return chosen


@pytest.mark.parametrize("count", [1, 12, 60, 250])
def test_picks_by_block_are_those_of_one_loop_with_walls_between_blocks(count):
    generator = np.random.default_rng(3)
    block = generator.integers(0, 12, 700)
    spread = torch.from_numpy(generator.uniform(0.01, 1, 12)[block]).float()
    points = whole_numbers(rows(700, 9, clusters=1) * spread[:, None])
    found = greedy_by_block(points, block, count)
    assert set(found.tolist()) == set(greedy_with_infinite_walls(points, block, max(12, count)))
    assert sorted(block[found[:12]].tolist()) == list(range(12))


def test_blocks_of_copies_give_one_row_each():
    points = torch.zeros(30, 4, dtype=torch.int16)
    assert len(greedy_by_block(points, np.arange(30) % 5, 20)) == 5


def test_picks_with_many_ties_are_those_of_the_plain_loop(monkeypatch):
    monkeypatch.setattr(coreset, "_POOL", 8)
    monkeypatch.setattr(coreset, "_GROUPS", 4)
    monkeypatch.setattr(coreset, "_FIRST_GROUPED", 8)
    points = torch.randint(0, 4, (600, 3), generator=torch.Generator().manual_seed(0)).float()
    assert greedy_coreset(points, 60).tolist() == plain_greedy(points, 60)


def test_projected_rows_are_whole_numbers_whose_products_are_exact():
    data = rows(500, 300)
    points = whole_numbers(data, first=data[:20])
    assert points.shape == (500, PROJECTION)
    assert points.dtype == torch.int16
    assert float(points.double().norm(dim=1).max()) <= 2041
    exact = (points.double() @ points.double().T).numpy()
    np.testing.assert_array_equal((points.float() @ points.float().T).numpy(), exact)


def test_rows_far_beyond_the_first_stay_exact_and_far():
    data = rows(200, 40)
    far = torch.cat([data, 1000 * data[:1]])
    points = whole_numbers(far, first=data, sample=data).double()
    assert float(points.norm(dim=1).max()) <= 2041
    assert int((points - points[:200].mean(dim=0)).norm(dim=1).argmax()) == 200


def test_projection_keeps_distances_to_a_fifth():
    data = rows(200, 400)
    points = whole_numbers(data, seed=1).float()
    ratio = torch.pdist(points) / torch.pdist(data)
    assert float((ratio / ratio.median() - 1).abs().quantile(0.95)) < 0.2


def test_picks_of_projected_rows_cover_as_well_as_picks_of_the_rows_themselves():
    data = rows(3000, 200, clusters=60)
    found = greedy_coreset(whole_numbers(data, first=data[:30]), 100)
    exact = plain_greedy((100 * (data - data.mean(dim=0))).round(), 100)
    radius = [float(torch.cdist(data, data[kept]).amin(dim=1).max()) for kept in (found, exact)]
    assert radius[0] < 1.15 * radius[1]


def added(buffer, data, batch=37, groups=None):
    for start in range(0, len(data), batch):
        part = data[start : start + batch]
        index = np.arange(start, start + len(part))
        origin = np.stack([index // 10, index % 10], axis=1)
        group = np.zeros(len(part), int) if groups is None else groups[index]
        buffer.add(part, origin, group)
    return buffer


def test_a_stream_that_fits_gives_the_greedy_coreset_of_all_its_rows():
    data = rows(400, 6)
    found, origin = added(CoresetBuffer(6, 500, 100, seed=3), data).select(40)
    chosen = plain_greedy(whole_numbers(data, 3, first=data[:37]), 40)
    torch.testing.assert_close(found, data[chosen])
    assert (10 * origin[:, 0] + origin[:, 1]).tolist() == chosen


@pytest.mark.parametrize("odd", [0.01, 1.0, 30.0])
def test_an_odd_first_image_does_not_set_the_scale(odd):
    """Rows of the first image are all alike, or spread far beyond those of all others."""
    data = rows(600, 40, clusters=30)
    first = odd * rows(37, 40, seed=9)
    found, origin = added(CoresetBuffer(40, 700, 100, seed=3), torch.cat([first, data])).select(120)
    kept = found[torch.from_numpy(10 * origin[:, 0] + origin[:, 1] >= 37)]
    usual = added(CoresetBuffer(40, 700, 100, seed=3), data).select(len(kept))[0]
    radius = [float(torch.cdist(data, bank).amin(dim=1).mean()) for bank in (found, usual)]
    assert radius[0] < 1.05 * radius[1]


def test_the_order_of_images_changes_the_cover_by_little():
    data = rows(600, 40, clusters=30)
    radius = []
    for seed in range(4):
        order = torch.randperm(600, generator=torch.Generator().manual_seed(seed))
        found = added(CoresetBuffer(40, 700, 100, seed=3), data[order]).select(80)[0]
        radius.append(float(torch.cdist(data, found).amin(dim=1).mean()))
    assert max(radius) < 1.02 * min(radius)


def test_a_long_stream_never_holds_more_than_its_capacity_and_keeps_origins():
    data = rows(5000, 6)
    buffer = CoresetBuffer(6, 300, 120, seed=0)
    for start in range(0, 5000, 50):
        index = np.arange(start, start + 50)
        buffer.add(data[start : start + 50], np.stack([index, index], axis=1), np.zeros(50, int))
        assert len(buffer) <= 300
    found, origin = buffer.select(60)
    assert buffer.offered == 5000
    torch.testing.assert_close(found, data[torch.from_numpy(origin[:, 0])])


def test_merging_and_reducing_covers_nearly_as_well_as_selecting_at_once():
    data = rows(6000, 5, clusters=40)
    whole, _ = added(CoresetBuffer(5, 6000, 3000, seed=0), data).select(150)
    merged, _ = added(CoresetBuffer(5, 1200, 600, seed=0), data).select(150)
    radius = [float(torch.cdist(data, kept).amin(dim=1).max()) for kept in (whole, merged)]
    assert radius[1] < 1.25 * radius[0]


def test_groups_are_reduced_apart():
    data, groups = rows(900, 4), np.arange(900) % 3
    buffer = added(CoresetBuffer(4, 300, 90, seed=0), data, groups=groups)
    assert sorted(set(buffer.groups.tolist())) == [0, 1, 2]
    _, origin = buffer.select(10, among=buffer.groups == 1)
    assert set((10 * origin[:, 0] + origin[:, 1]) % 3) == {1}


def test_dropped_rows_make_room_and_kept_ones_come_back_as_they_were(monkeypatch):
    monkeypatch.setattr(coreset_buffer, "_REDUCED_TOGETHER", 64)
    data = rows(1500, 6)
    buffer = CoresetBuffer(6, 200, 80, seed=0)
    for start in range(0, 1500, 50):
        index = np.arange(start, start + 50)
        buffer.add(data[start : start + 50], np.stack([index, index], axis=1), np.zeros(50, int))
    assert not buffer.complete
    found, origin = buffer.select(200)
    torch.testing.assert_close(found, data[torch.from_numpy(origin[:, 0])])
    assert len(set(origin[:, 0].tolist())) == len(found)


@pytest.mark.parametrize("room", [True, False])
def test_rows_can_be_read_again_where_the_disk_has_room(room, monkeypatch):
    if not room:
        monkeypatch.setattr(spill, "TEMPORARY_BYTES", 0)
    data = rows(400, 6)
    buffer = added(CoresetBuffer(6, 100, 40, seed=0, expected=400), data)
    assert buffer.complete is room
    if room:
        torch.testing.assert_close(buffer.rows_at(130, 60), data[130:190])
    buffer.close()


def test_grouped_search_finds_what_the_plain_product_finds(monkeypatch):
    bank, queries = rows(3000, 12), rows(700, 12, seed=4)
    parts = neighbours.centred_bank(bank)
    queries = queries - parts["mean_"]
    plain = neighbours.nearest_rows(queries, parts["bank_"], parts["squares_"])
    monkeypatch.setattr(neighbours, "_FEWEST_GROUPED", 256)
    grouped = neighbours.nearest_rows_in_fit(queries, parts["bank_"], parts["squares_"])
    assert torch.equal(plain, grouped)
    assert torch.equal(plain[:, 0], torch.cdist(queries, parts["bank_"]).argmin(dim=1))
