"""Coreset: the few rows of a memory bank that cover all others (greedy k-centre).

Selection works on rows that are projected to a few random directions and rounded to whole
numbers. Whole numbers below 2^24 are exact in float32, so a squared distance is the same number
whether it comes from one product or from a block of them: the lazy form below makes exactly the
picks of the plain loop, ties included.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PROJECTION = 128
"""Random directions that distances are measured in while rows are selected."""

_LARGEST_NORM = 2040.0  # (2 * norm)^2 stays below 2^24, rounding included
_POOL = 4096
_ROWS = 512
_GROUPS = 256
_FIRST_GROUPED = 4 * _GROUPS
_SLACK = 1.0  # in whole-number units; rounding of the roots is a thousandth of it
_CHUNK = 4096

Tell = Callable[[int, int], None]
"""Called with rows picked so far, rows to pick."""


def whole_number_projection(rows: Tensor, seed: int, directions: int = PROJECTION) -> Tensor:
    """Rows `(n, d)` in random directions, as whole numbers in float32 `(n, p)`.

    Rows of at most `directions` numbers are not projected. The largest row has norm 2040 or less.

    Args:
        rows: float32 `(n, d)`.
        seed: of the directions, drawn from a Gaussian.
        directions: p.
    """
    width = rows.shape[1]
    matrix = torch.eye(width)
    if width > directions:
        generator = torch.Generator().manual_seed(seed)
        matrix = torch.randn(width, directions, generator=generator) / directions**0.5
    centre = mean_row(rows).float()
    projected = torch.empty(len(rows), matrix.shape[1])
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        torch.matmul(rows[part] - centre, matrix, out=projected[part])
    largest = float(projected.norm(dim=1).max()) if len(rows) else 0.0
    if largest == 0:
        return projected
    return projected.mul_((_LARGEST_NORM - matrix.shape[1] ** 0.5) / largest).round_()


def mean_row(rows: Tensor) -> Tensor:
    """Mean of rows `(n, d)` in float64 `(d,)`, without a float64 copy of all of them."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for part in rows.split(_CHUNK):
        total += part.double().sum(dim=0)
    return total / max(1, len(rows))


def greedy_coreset(points: Tensor, count: int, tell: Tell | None = None) -> NDArray[np.int64]:
    """Greedy k-centre: again and again the point farthest from those picked, exactly.

    The first pick is the point farthest from the mean, which is what the largest row norm of the
    full distance matrix (the authors' exact version) amounts to. Ties go to the lower index. Fewer
    points come back when all others are copies of picked ones.

    Distances to the picked set only ever shrink, so an old distance is an upper bound. Only the
    points with the largest bounds are brought up to date; points that are covered early are
    never looked at again.

    Args:
        points: whole numbers in float32 `(n, p)`, as `whole_number_projection` gives.
        count: points to pick.
        tell: progress.

    Returns:
        indices in the order of picking `(<= count,)`.
    """
    if count < 1 or len(points) == 0:
        return np.zeros(0, np.int64)
    return _LazyGreedy(points, min(count, len(points))).run(tell)


class _LazyGreedy:
    """State of one selection: bounds of all points and how many picks each bound knows."""

    def __init__(self, points: Tensor, count: int) -> None:
        self.points, self.count = points, count
        self.squares = points.square().sum(dim=1)
        self.bound: NDArray[np.float32] = np.empty(len(points), np.float32)
        self.seen = np.ones(len(points), np.int64)
        self.chosen = np.empty(count, np.int64)
        self.picks = torch.empty(count, points.shape[1])
        self.picks_squares = torch.empty(count)
        self.done = 0
        self._groups = _Groups(count)

    def run(self, tell: Tell | None) -> NDArray[np.int64]:
        first = _farthest_from_mean(self.points, self.squares)
        self._pick(first)
        away = self.squares + self.squares[first] - 2 * (self.points @ self.points[first])
        self.bound[:] = away.numpy()
        self.bound[first] = -1
        while self.done < self.count:
            pool, limit = self._pool()
            fresh = bool((self.seen[pool] == self.done).all())
            before = self.done
            self._refresh(pool)
            if float(self.bound[pool].max()) <= 0 and limit <= 0:
                break
            self._pick_from(pool, limit)
            if fresh and self.done == before:
                self._pick_tied(limit)
            if tell is not None:
                tell(self.done, self.count)
        return self.chosen[: self.done]

    def _pool(self) -> tuple[NDArray[np.int64], float]:
        """Points with the largest bounds, by index, and the largest bound outside."""
        if len(self.bound) <= _POOL:
            return np.arange(len(self.bound)), 0.0
        order = np.argpartition(self.bound, len(self.bound) - _POOL - 1)
        outside = order[len(self.bound) - _POOL - 1]
        return np.sort(order[len(self.bound) - _POOL :]), float(self.bound[outside])

    def _pick(self, index: int) -> None:
        self.chosen[self.done] = index
        self.picks[self.done] = self.points[index]
        self.picks_squares[self.done] = self.squares[index]
        self.done += 1

    def _pick_from(self, pool: NDArray[np.int64], limit: float) -> None:
        """Plain greedy inside the pool for as long as nothing outside can be farther."""
        points = self.points[torch.from_numpy(pool)]
        squares = self.squares[torch.from_numpy(pool)]
        bound = self.bound[pool]
        shared = torch.from_numpy(bound)
        away = torch.empty_like(shared)
        while self.done < self.count:
            best = int(bound.argmax())
            if bound[best] <= limit:
                break
            self._pick(int(pool[best]))
            torch.addmv(squares, points, points[best], alpha=-2, out=away)
            torch.minimum(shared, away.add_(squares[best]), out=shared)
            bound[best] = -1
        self.bound[pool] = bound
        self.seen[pool] = self.done

    def _pick_tied(self, limit: float) -> None:
        """The lowest index of all points that are equally far, inside the pool and outside."""
        tied = np.flatnonzero(self.bound == limit)
        self._refresh(tied)
        lowest = int(tied[int((self.bound[tied] == limit).argmax())])
        self._pick(lowest)
        self.bound[lowest] = -1

    def _refresh(self, index: NDArray[np.int64]) -> None:
        """Bring bounds up to date with all picks."""
        index = index[self.seen[index] < self.done]
        if len(index) == 0:
            return
        update = self._refresh_all if self.done < _FIRST_GROUPED else self._refresh_near
        kept = self.bound[index] >= 0
        update(index[kept])
        self.seen[index] = self.done

    def _refresh_all(self, index: NDArray[np.int64]) -> None:
        """Against every pick, in blocks of points that know as many."""
        index = index[np.argsort(self.seen[index], kind="stable")]
        for start in range(0, len(index), _ROWS):
            part = index[start : start + _ROWS]
            rows = torch.from_numpy(part)
            low = int(self.seen[part[0]])
            nearest = torch.addmm(
                self.picks_squares[low : self.done],
                self.points[rows],
                self.picks[low : self.done].T,
                alpha=-2,
            ).amin(dim=1)
            nearest += self.squares[rows]
            self.bound[part] = np.minimum(self.bound[part], nearest.numpy())

    def _refresh_near(self, index: NDArray[np.int64]) -> None:
        """Against the picks that can be nearer than the bound, by the triangle inequality.

        Picks are grouped around the first ones. A pick of a group of radius R around c is at least
        `|x - c| - R` away from x.
        """
        order, edges, reach = self._groups.update(self.picks, self.done)
        rows = torch.from_numpy(index)
        points, squares = self.points[rows], self.squares[rows]
        centres = self.picks[:_GROUPS]
        away = torch.addmm(self.picks_squares[:_GROUPS], points, centres.T, alpha=-2)
        away.add_(squares[:, None]).clamp_(min=0).sqrt_()
        bound, seen = self.bound[index], self.seen[index]
        limit = torch.from_numpy(np.sqrt(bound) + _SLACK)
        near = ((away - torch.from_numpy(reach)) <= limit[:, None]).T.contiguous().numpy()
        for group in range(_GROUPS):
            some = np.flatnonzero(near[group])
            members = order[edges[group] : edges[group + 1]]
            if len(some) == 0 or members[-1] < (low := int(seen[some].min())):
                continue
            picked = torch.from_numpy(members[np.searchsorted(members, low) :])
            chosen = torch.from_numpy(some)
            nearest = torch.addmm(
                self.picks_squares[picked], points[chosen], self.picks[picked].T, alpha=-2
            ).amin(dim=1)
            nearest += squares[chosen]
            bound[some] = np.minimum(bound[some], nearest.numpy())
        self.bound[index] = bound


class _Groups:
    """Picks grouped around the first ones: each belongs to the nearest."""

    def __init__(self, count: int) -> None:
        self.label = np.empty(count, np.int64)
        self.reach = np.zeros(_GROUPS, np.float32)
        self.known = 0

    def update(
        self, picks: Tensor, done: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Take in new picks; returns picks by group, edges of the groups, radius of each."""
        if self.known < done:
            away, label = torch.cdist(
                picks[self.known : done],
                picks[:_GROUPS],
                compute_mode="donot_use_mm_for_euclid_dist",
            ).min(dim=1)
            self.label[self.known : done] = label.numpy()
            np.maximum.at(self.reach, label.numpy(), away.numpy())
            self.known = done
        labels = self.label[:done]
        order = np.argsort(labels, kind="stable")
        edges = np.searchsorted(labels[order], np.arange(_GROUPS + 1))
        return order, edges, self.reach


def _farthest_from_mean(points: Tensor, squares: Tensor) -> int:
    mean = mean_row(points)
    away = squares.double()
    for start in range(0, len(points), _CHUNK):
        part = slice(start, start + _CHUNK)
        away[part] -= 2 * (points[part].double() @ mean)
    return int(away.numpy().argmax())
