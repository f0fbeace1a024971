"""Scalar fields `(h, w)` in 0..1 that procedural pictures are coloured from."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def spread(field: NDArray[np.floating]) -> Field:
    """Stretch a field to 0..1; a constant one becomes 0.5."""
    low, high = float(field.min()), float(field.max())
    if high - low < 1e-9:
        return np.full(field.shape, 0.5, np.float32)
    return ((field - low) / (high - low)).astype(np.float32)


def fractal_noise(rng: np.random.Generator, size_hw: tuple[int, int]) -> Field:
    """Noise with a `1/f^a` amplitude spectrum, often stretched along one direction."""
    height, width = size_hw
    fy = np.fft.fftfreq(height)[:, None]
    fx = np.fft.rfftfreq(width)[None]
    angle, stretch = rng.uniform(0, np.pi), np.exp(rng.normal(0, 0.7))
    u = fx * np.cos(angle) + fy * np.sin(angle)
    v = (fy * np.cos(angle) - fx * np.sin(angle)) * stretch
    radius = np.sqrt(u * u + v * v + 1.0 / (height * width))
    noise = np.fft.rfft2(rng.standard_normal(size_hw))
    return spread(np.fft.irfft2(noise * radius ** -rng.uniform(0.6, 2.2), s=size_hw))


def band_noise(rng: np.random.Generator, size_hw: tuple[int, int]) -> Field:
    """Noise of one scale: grains, spots, orange peel."""
    sigma = float(np.exp(rng.uniform(np.log(0.6), np.log(8))))
    noise = rng.standard_normal(size_hw).astype(np.float32)
    near, far = cv2.GaussianBlur(noise, (0, 0), sigma), cv2.GaussianBlur(noise, (0, 0), 2 * sigma)
    return spread(near - far)


def grating(rng: np.random.Generator, size_hw: tuple[int, int]) -> Field:
    """One to three crossed waves, warped: weaves, ridges, grids."""
    y, x = warped_axes(rng, size_hw, rng.uniform(0, 6))
    field = np.zeros(size_hw, np.float32)
    first = rng.uniform(0, np.pi)
    for index in range(rng.integers(1, 4)):
        angle = first + index * rng.choice([np.pi / 2, np.pi / 3, rng.uniform(0, np.pi)])
        wave = np.exp(rng.uniform(np.log(4), np.log(60)))
        phase = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wave
        shape = np.tanh(rng.uniform(0.3, 6) * np.sin(phase + rng.uniform(0, 2 * np.pi)))
        field = field + shape if rng.random() < 0.5 else np.maximum(field, shape)
    return spread(field)


def cells(rng: np.random.Generator, size_hw: tuple[int, int]) -> Field:
    """Distance to the nearest or between the two nearest of scattered points (Worley 1996)."""
    height, width = size_hw
    count = int(np.exp(rng.uniform(np.log(8), np.log(300))))
    seeds = np.full(size_hw, 255, np.uint8)
    seeds[rng.integers(0, height, count), rng.integers(0, width, count)] = 0
    distance, labels = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    kind = rng.integers(3)
    if kind == 0:
        return spread(distance.astype(np.float32))
    levels = rng.random(int(labels.max()) + 1).astype(np.float32)[labels]
    if kind == 1:
        return spread(levels)
    edges = cv2.morphologyEx(levels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return spread((edges > 0).astype(np.float32) * rng.uniform(0.5, 2) + 0.3 * levels)


def iterated(rng: np.random.Generator, size_hw: tuple[int, int]) -> Field:
    """Density of an iterated function system of random affine maps (Barnsley 1988)."""
    height, width = size_hw
    maps = rng.integers(2, 6)
    turn = rng.uniform(0, 2 * np.pi, (2, maps))
    scale = rng.uniform(0.3, 0.85, (2, maps))
    matrices = np.empty((maps, 2, 2))
    for index in range(maps):
        (a, b), (s, t) = turn[:, index], scale[:, index]
        left = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        right = np.array([[np.cos(b), -np.sin(b)], [np.sin(b), np.cos(b)]])
        matrices[index] = left @ np.diag([s, t]) @ right
    shifts = rng.uniform(-1, 1, (maps, 2))
    points = rng.uniform(-1, 1, (4000, 2))
    density = np.zeros((height, width), np.float32)
    for step in range(30):
        chosen = rng.integers(0, maps, len(points))
        points = np.einsum("nij,nj->ni", matrices[chosen], points) + shifts[chosen]
        if step == 8:
            low, high = points.min(axis=0), points.max(axis=0)
        if step > 8:
            place = (points - low) / np.maximum(high - low, 1e-6)
            row = (place[:, 0] * (height - 1)).astype(int).clip(0, height - 1)
            column = (place[:, 1] * (width - 1)).astype(int).clip(0, width - 1)
            np.add.at(density, (row, column), 1)
    return spread(np.log1p(cv2.GaussianBlur(density, (0, 0), 0.7)))


def filtered(rng: np.random.Generator, size_hw: tuple[int, int]) -> Field:
    """Noise through a few random filters and rectifiers: textures nobody designed."""
    state = [rng.standard_normal(size_hw).astype(np.float32) for _ in range(3)]
    for _ in range(rng.integers(2, 5)):
        state = [
            spread(np.abs(sum(_random_filter(rng, channel) for channel in state))) - 0.4
            for _ in range(3)
        ]
    return spread(state[0])


def warped_axes(
    rng: np.random.Generator, size_hw: tuple[int, int], strength: float
) -> tuple[Field, Field]:
    """Pixel rows and columns `(h, w)`, bent by smooth noise of so many pixels."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32)
    bends = []
    for _ in range(2):
        coarse = rng.standard_normal((5, 5)).astype(np.float32)
        bends.append(cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC))
    return y + strength * bends[0], x + strength * bends[1]


def _random_filter(rng: np.random.Generator, channel: Field) -> NDArray[np.float32]:
    size = int(rng.choice([3, 5, 7]))
    kernel = rng.standard_normal((size, size)).astype(np.float32) / size
    return np.asarray(cv2.filter2D(channel, -1, kernel), np.float32)


FIELDS = (fractal_noise, band_noise, grating, cells, iterated, filtered)
"""Every kind of field; each takes a generator and a size."""
