"""Greedy k-centre against the plain loop, and the bounded buffer."""

import numpy as np
import pytest
import torch

from anomalib_lite.scorers import coreset, neighbours
from anomalib_lite.scorers.coreset import greedy_coreset, whole_number_projection
from anomalib_lite.scorers.coreset_buffer import CoresetBuffer


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
    points = whole_number_projection(rows(n, d), seed=0)
    assert greedy_coreset(points, count).tolist() == plain_greedy(points, count)


@pytest.mark.parametrize("pool", [16, 200])
def test_picks_by_groups_are_those_of_the_plain_loop(pool, monkeypatch):
    monkeypatch.setattr(coreset, "_POOL", pool)
    monkeypatch.setattr(coreset, "_GROUPS", 8)
    monkeypatch.setattr(coreset, "_FIRST_GROUPED", 16)
    points = whole_number_projection(rows(2000, 30), seed=0)
    assert greedy_coreset(points, 400).tolist() == plain_greedy(points, 400)


def test_picks_with_many_ties_are_those_of_the_plain_loop(monkeypatch):
    monkeypatch.setattr(coreset, "_POOL", 8)
    monkeypatch.setattr(coreset, "_GROUPS", 4)
    monkeypatch.setattr(coreset, "_FIRST_GROUPED", 8)
    points = torch.randint(0, 4, (600, 3), generator=torch.Generator().manual_seed(0)).float()
    assert greedy_coreset(points, 60).tolist() == plain_greedy(points, 60)


def test_projected_rows_are_whole_numbers_whose_products_are_exact():
    points = whole_number_projection(rows(500, 300), seed=0)
    assert points.shape == (500, coreset.PROJECTION)
    assert torch.equal(points, points.round())
    assert float(points.norm(dim=1).max()) <= 2041
    exact = (points.double() @ points.double().T).numpy()
    np.testing.assert_array_equal((points @ points.T).numpy(), exact)


def test_projection_keeps_distances_to_a_fifth():
    data = rows(200, 400)
    points = whole_number_projection(data, seed=1)
    ratio = torch.pdist(points) / torch.pdist(data)
    assert float((ratio / ratio.median() - 1).abs().quantile(0.95)) < 0.2


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
    chosen = plain_greedy(whole_number_projection(data, 3), 40)
    torch.testing.assert_close(found, data[chosen])
    assert (10 * origin[:, 0] + origin[:, 1]).tolist() == chosen


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
    assert sum(buffer.size(group) for group in range(3)) == len(buffer)
    _, origin = buffer.select(10, group=1)
    assert set((10 * origin[:, 0] + origin[:, 1]) % 3) == {1}


def test_grouped_search_finds_what_the_plain_product_finds(monkeypatch):
    bank, queries = rows(3000, 12), rows(700, 12, seed=4)
    parts = neighbours.centred_bank(bank)
    queries = queries - parts["mean_"]
    plain = neighbours.nearest_rows(queries, parts["bank_"], parts["squares_"])
    monkeypatch.setattr(neighbours, "_FEWEST_GROUPED", 256)
    grouped = neighbours.nearest_rows(queries, parts["bank_"], parts["squares_"])
    assert torch.equal(plain, grouped)
    assert torch.equal(plain[:, 0], torch.cdist(queries, parts["bank_"]).argmin(dim=1))
