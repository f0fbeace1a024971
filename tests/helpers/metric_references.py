"""Slow, plain references: the definitions written out, one threshold at a time."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

EIGHT = np.ones((3, 3), dtype=int)
FOUR = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])


def random_images(seed, count=4, size=(9, 11), levels=None, signal=1.0, dtype=np.float32):
    """Maps and masks with small blobs; `levels` rounds scores to make ties; sizes differ."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for index in range(count):
        height, width = size[0] + index % 3, size[1] - index % 2
        mask = np.zeros((height, width), np.uint8)
        if index % 2 == 0:
            for _ in range(rng.integers(1, 4)):
                y, x = rng.integers(0, height - 1), rng.integers(0, width - 1)
                mask[y : y + rng.integers(1, 4), x : x + rng.integers(1, 4)] = 255
        scores = rng.normal(size=mask.shape) + signal * (mask > 0)
        if levels:
            scores = np.round(scores * levels) / levels
        maps.append(scores.astype(dtype))
        masks.append(mask)
    return maps, masks


def flat(maps, masks):
    """All pixels of all images as `(scores, labels)`."""
    scores = np.concatenate([m.ravel() for m in maps])
    return scores, np.concatenate([(m > 0).ravel() for m in masks])


def components(maps, masks, structure=EIGHT):
    """Scores of each connected component."""
    found = []
    for scores, mask in zip(maps, masks, strict=True):
        labelled, count = ndimage.label(mask > 0, structure=structure)
        found += [scores[labelled == k] for k in range(1, count + 1)]
    return found


def area_to(limit, fpr, overlap):
    """Trapezoid up to `limit` with a straight line at the limit, divided by it."""
    area = 0.0
    for i in range(len(fpr) - 1):
        x0, x1, y0, y1 = fpr[i], fpr[i + 1], overlap[i], overlap[i + 1]
        if x0 >= limit:
            break
        if x1 > limit:
            x1, y1 = limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def curve(good, everything, overlap_at):
    """(FPR, overlap) at every distinct score, (0, 0) first."""
    fpr, overlap = [0.0], [0.0]
    for threshold in np.unique(everything)[::-1]:
        fpr.append(np.mean(good >= threshold))
        overlap.append(overlap_at(threshold))
    return [*fpr, 1.0], [*overlap, 1.0]


def slow_aupro(maps, masks, limit=0.3, structure=EIGHT):
    scores, labels = flat(maps, masks)
    parts = components(maps, masks, structure)
    fpr, overlap = curve(
        scores[~labels], scores, lambda t: np.mean([np.mean(part >= t) for part in parts])
    )
    return area_to(limit, fpr, overlap)


def slow_au_spro(maps, channels, saturations, limit=0.05):
    good, parts = [], []
    for scores, masks, areas in zip(maps, channels, saturations, strict=True):
        free = np.ones(scores.shape, bool)
        for mask, area in zip(masks, areas, strict=True):
            parts.append((scores[mask > 0], area))
            free &= mask == 0
        good.append(scores[free])
    good = np.concatenate(good)
    everything = np.concatenate([m.ravel() for m in maps])
    fpr, overlap = curve(
        good,
        everything,
        lambda t: np.mean([min(np.sum(part >= t) / area, 1.0) for part, area in parts]),
    )
    return area_to(limit, fpr, overlap)


def slow_aupimo(maps, masks, bounds):
    normal = [m for m, mask in zip(maps, masks, strict=True) if not mask.any()]
    everything = np.unique(np.concatenate([m.ravel() for m in maps]))[::-1]
    fpr = np.array([np.mean([np.mean(m >= t) for m in normal]) for t in everything])
    values = []
    for scores, mask in zip(maps, masks, strict=True):
        if not mask.any():
            continue
        recall = np.array([np.mean(scores[mask > 0] >= t) for t in everything])
        keep = fpr > 0
        x, y = np.log(fpr[keep]), recall[keep]
        low, high = np.log(bounds[0]), np.log(bounds[1])
        area = 0.0
        for i in range(len(x) - 1):
            x0, x1 = max(x[i], low), min(x[i + 1], high)
            if x1 > x0:
                slope = (y[i + 1] - y[i]) / (x[i + 1] - x[i])
                area += (x1 - x0) * (y[i] + slope * ((x0 + x1) / 2 - x[i]))
        values.append(area / (high - low))
    return np.array(values)


def slow_pro_linear(maps, masks, num, rescale, limit=0.3):
    scores, labels = flat(maps, masks)
    scores = scores.astype(np.float64)
    parts = [part.astype(np.float64) for part in components(maps, masks)]
    step = (scores.max() - scores.min()) / num
    points = []
    for i in range(num):
        threshold = scores.min() + i * step
        fpr = np.mean(scores[~labels] > threshold)
        if fpr < limit:
            points.append((fpr, np.mean([np.mean(part > threshold) for part in parts])))
    fpr, pro = np.array(points[::-1]).T
    start = fpr.min() if rescale == "minmax" else 0.0
    return np.trapezoid(pro, (fpr - start) / (fpr.max() - start))


def slow_pro_rank(maps, masks, num, limit=0.3):
    scores, labels = flat(maps, masks)
    good = np.sort(scores[~labels])
    parts = components(maps, masks)
    fpr, pro = [1.0], [1.0]
    for rank in np.linspace(0, good.size - 1, num, dtype=int):
        fpr.append(1.0 - (rank + 1) / good.size)
        pro.append(np.mean([np.mean(part > good[rank]) for part in parts]))
    return area_to(limit, fpr[::-1], pro[::-1])
