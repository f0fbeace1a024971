"""Coreset: the few rows of a memory bank that cover all others (greedy k-centre).

Selection works on whole numbers (`coreset_projection`), whose distances are exact however they are
computed: the lazy form below makes exactly the picks of the plain loop, ties included.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.scorers.memory_bank.projection import mean_row
from anomalib_lite.system.threads import one_thread

_POOL = 4096
_ROWS = 1024
_PICKS = 2048
_GROUPS = 256
_FIRST_GROUPED = 4 * _GROUPS
_WORTHWHILE = 0.25  # share of the work that may be left for the detour over groups to pay
_PAUSE = 8  # refreshes without a try after a detour that did not pay
_SLACK = 1.0  # in whole-number units; rounding of the roots is a thousandth of it
_CHUNK = 4096

Tell = Callable[[int, int], None]
"""Called with rows picked so far, rows to pick."""


def greedy_coreset(points: Tensor, count: int, tell: Tell | None = None) -> NDArray[np.int64]:
    """Greedy k-centre: again and again the point farthest from those picked, exactly.

    The first pick is the point farthest from the mean, which is what the largest row norm of the
    full distance matrix (the authors' exact version) amounts to. Ties go to the lower index. Fewer
    points come back when all others are copies of picked ones.

    Distances to the picked set only ever shrink, so an old distance is an upper bound. Only the
    points with the largest bounds are brought up to date; points that are covered early are
    never looked at again.

    Args:
        points: whole numbers `(n, p)` of any type, as `WholeNumberProjection` gives.
        count: points to pick.
        tell: progress.

    Returns:
        indices in the order of picking `(<= count,)`.
    """
    return greedy_with_radii(points, count, tell)[0]


def greedy_with_radii(
    points: Tensor, count: int, tell: Tell | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """`greedy_coreset`, and each pick's squared distance to the earlier ones (infinite, first)."""
    if count < 1 or len(points) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    return _LazyGreedy(points, min(count, len(points))).run(tell)


class _LazyGreedy:
    """State of one selection: bounds of all points and how many picks each bound knows."""

    def __init__(self, points: Tensor, count: int) -> None:
        self.points, self.count = points, count
        self.squares = torch.empty(len(points))
        for start in range(0, len(points), _CHUNK):
            part = points[start : start + _CHUNK].float()
            self.squares[start : start + _CHUNK] = part.square().sum(dim=1)
        self.bound: NDArray[np.float32] = np.empty(len(points), np.float32)
        self.seen = np.ones(len(points), np.int32)
        self.chosen = np.empty(count, np.int64)
        self.radii = np.empty(count, np.float32)
        self.picks = torch.empty(count, points.shape[1])
        self.picks_squares = torch.empty(count)
        self.done = 0
        self._groups = _Groups(count)
        self._pause = 0

    def run(self, tell: Tell | None) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        self._start()
        while self.done < self.count:
            pool, limit = self._pool()
            fresh = bool((self.seen[pool] == self.done).all())
            before = self.done
            self._refresh(pool)
            if float(self.bound[pool].max()) <= 0 and limit <= 0:
                break
            with one_thread():
                self._pick_from(pool, limit)
            if fresh and self.done == before:
                self._pick_tied(limit)
            if tell is not None:
                tell(self.done, self.count)
        return self.chosen[: self.done], self.radii[: self.done]

    def _start(self) -> None:
        """The first pick, and everyone's distance to it."""
        first = _farthest_from_mean(self.points, self.squares)
        self._pick(first, np.inf)
        for start in range(0, len(self.points), _CHUNK):
            part = slice(start, start + _CHUNK)
            away = self._floats(part) @ self.picks[0]
            away.mul_(-2).add_(self.squares[part]).add_(self.squares[first])
            self.bound[part] = away.numpy()
        self.bound[first] = -1

    def _floats(self, index: slice | NDArray[np.int64]) -> Tensor:
        chosen = index if isinstance(index, slice) else torch.from_numpy(index)
        return self.points[chosen].float()

    def _pool(self) -> tuple[NDArray[np.int64], float]:
        """Points with the largest bounds, by index, and the largest bound outside."""
        if len(self.bound) <= _POOL:
            return np.arange(len(self.bound)), 0.0
        order = np.argpartition(self.bound, len(self.bound) - _POOL - 1)
        outside = order[len(self.bound) - _POOL - 1]
        return np.sort(order[len(self.bound) - _POOL :]), float(self.bound[outside])

    def _pick(self, index: int, radius: float) -> None:
        self.chosen[self.done] = index
        self.radii[self.done] = radius
        self.picks[self.done] = self.points[index]
        self.picks_squares[self.done] = self.squares[index]
        self.done += 1

    def _pick_from(self, pool: NDArray[np.int64], limit: float) -> None:
        """Plain greedy inside the pool for as long as nothing outside can be farther."""
        points = self._floats(pool)
        squares = self.squares[torch.from_numpy(pool)]
        bound = self.bound[pool]
        shared = torch.from_numpy(bound)
        away = torch.empty_like(shared)
        while self.done < self.count:
            best = int(bound.argmax())
            if bound[best] <= limit:
                break
            self._pick(int(pool[best]), float(bound[best]))
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
        self._pick(lowest, limit)
        self.bound[lowest] = -1

    def _refresh(self, index: NDArray[np.int64]) -> None:
        """Bring bounds up to date with all picks."""
        index = index[self.seen[index] < self.done]
        kept = index[self.bound[index] >= 0]
        if len(kept):
            work = self.done - float(self.seen[kept].mean())
            if work < _FIRST_GROUPED or not self._refresh_near(kept, work):
                self._refresh_all(kept)
        self.seen[index] = self.done

    def _refresh_all(self, index: NDArray[np.int64]) -> None:
        """Against every pick, in blocks of points that know as many."""
        index = index[np.argsort(self.seen[index], kind="stable")]
        for start in range(0, len(index), _ROWS):
            part = index[start : start + _ROWS]
            points = self._floats(part)
            nearest = torch.full((len(part),), torch.inf)
            for low in range(int(self.seen[part[0]]), self.done, _PICKS):
                some = slice(low, min(low + _PICKS, self.done))
                away = torch.addmm(self.picks_squares[some], points, self.picks[some].T, alpha=-2)
                torch.minimum(nearest, away.amin(dim=1), out=nearest)
            nearest += self.squares[torch.from_numpy(part)]
            self.bound[part] = np.minimum(self.bound[part], nearest.numpy())

    def _refresh_near(self, index: NDArray[np.int64], work: float) -> bool:
        """Against the picks that can be nearer than the bound, by the triangle inequality.

        Picks are grouped around the first ones. A pick of a group of radius R around c is at least
        `|x - c| - R` away from x. Scattered points (textures) have so many groups in reach that the
        detour costs more than it saves: then nothing is done, and it is not tried for a while.

        Returns:
            whether the bounds are up to date.
        """
        if self._pause > 0:
            self._pause -= 1
            return False
        order, edges, reach = self._groups.update(self.picks, self.done)
        points, squares = self._floats(index), self.squares[torch.from_numpy(index)]
        away = torch.addmm(self.picks_squares[:_GROUPS], points, self.picks[:_GROUPS].T, alpha=-2)
        away.add_(squares[:, None]).clamp_(min=0).sqrt_()
        bound, seen = self.bound[index], self.seen[index]
        limit = torch.from_numpy(np.sqrt(bound) + _SLACK)
        near = ((away - torch.from_numpy(reach)) <= limit[:, None]).T.contiguous().numpy()
        if near.sum(axis=1) @ np.diff(edges) > _WORTHWHILE * work * len(index):
            self._pause = _PAUSE
            return False
        with one_thread():
            for group in np.flatnonzero(near.any(axis=1)):
                members = order[edges[group] : edges[group + 1]]
                self._compare(points, squares, seen, bound, np.flatnonzero(near[group]), members)
        self.bound[index] = bound
        return True

    def _compare(
        self,
        points: Tensor,
        squares: Tensor,
        seen: NDArray[np.int32],
        bound: NDArray[np.float32],
        some: NDArray[np.int64],
        members: NDArray[np.int64],
    ) -> None:
        """Lower the bounds of some points by the picks of one group that are new to them."""
        if len(members) == 0 or members[-1] < (low := int(seen[some].min())):
            return
        picked = torch.from_numpy(members[np.searchsorted(members, low) :])
        chosen = torch.from_numpy(some)
        nearest = torch.addmm(
            self.picks_squares[picked], points[chosen], self.picks[picked].T, alpha=-2
        ).amin(dim=1)
        nearest += squares[chosen]
        bound[some] = np.minimum(bound[some], nearest.numpy())


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
