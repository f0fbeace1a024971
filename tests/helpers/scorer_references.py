"""Slow plain references, and a stream of made-up features to try scorers on."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from anomalib_lite.backbones import FeatureLayout, Features, LayerInfo
from anomalib_lite.scorers import FrameBatch


def layout_of(input_hw, layers, roi=None):
    """Layers given as (name, channels, stride); grids are rounded up."""
    infos = tuple(
        LayerInfo(name, channels, stride, (-(-input_hw[0] // stride), -(-input_hw[1] // stride)))
        for name, channels, stride in layers
    )
    return FeatureLayout(tuple(input_hw), infos, roi)


class MadeStream:
    """Correlated random maps, each image with its own offset; implements `FeatureStream`.

    `sample_weight` and `labels` are given by image index.
    """

    def __init__(
        self,
        layout,
        images,
        *,
        seed=0,
        batch=5,
        indices=None,
        missing=(),
        sample_weight=None,
        labels=None,
    ):
        self.layout = layout
        self.images, self.seed, self.batch = images, seed, batch
        self.missing = missing
        self.sample_weight, self.labels = sample_weight, labels
        self.indices = np.arange(images) if indices is None else np.sort(np.asarray(indices))
        self.passes = 0

    def __len__(self):
        return len(self.indices)

    def subset(self, indices):
        return MadeStream(
            self.layout,
            self.images,
            seed=self.seed,
            batch=self.batch,
            indices=indices,
            missing=self.missing,
            sample_weight=self.sample_weight,
            labels=self.labels,
        )

    def features(self, index):
        generator = torch.Generator().manual_seed(1000 * self.seed + int(index))
        common = torch.randn(1, generator=generator)
        maps = {}
        for layer in self.layout.layers:
            noise = torch.randn(layer.channels, *layer.grid_hw, generator=generator)
            ramp = torch.linspace(0.5, 2, layer.channels)[:, None, None]
            maps[layer.name] = (ramp * noise + 0.3 * noise.roll(1, 0) + common + 3)[None]
        return Features(torch.zeros(1, 3, *self.layout.input_hw), maps)

    def all_features(self):
        """Features of all images in one batch."""
        return joined([self.features(index) for index in self.indices])

    def __iter__(self):
        self.passes += 1
        readable = [index for index in self.indices if index not in self.missing]
        for start in range(0, len(readable), self.batch):
            chosen = np.array(readable[start : start + self.batch], np.int64)
            yield self.batch_of(chosen)

    def batch_of(self, chosen):
        """The batch of some images; its frames are black."""
        return FrameBatch(
            torch.zeros(len(chosen), *self.layout.input_hw, 3, dtype=torch.uint8),
            chosen,
            lambda _: joined([self.features(index) for index in chosen]),
            sample_weight=None if self.sample_weight is None else self.sample_weight[chosen],
            labels=None if self.labels is None else self.labels[chosen],
        )


def joined(parts):
    """Several `Features` as one batch."""
    return Features(
        torch.cat([part.pixels for part in parts]),
        {name: torch.cat([part.maps[name] for part in parts]) for name in parts[0].maps},
    )


def textbook_padim(train, test, layout, channels, regularisation, sigma, shrinkage=0.0):
    """PaDiM as the paper writes it, float64, position by position.

    Args:
        train: features of the good images.
        test: features to score.
        layout: layers; the finest grid is that of the smallest stride.
        channels: chosen channels of the concatenation in layer order.
        regularisation: added to the diagonal.
        sigma: blur, pixels.
        shrinkage: how far each covariance is drawn towards the mean of those inside the region.

    Returns:
        image scores (N,), maps (N, H, W).
    """
    distances = textbook_distances(train, test, layout, channels, regularisation, shrinkage)
    maps = enlarged_and_blurred(distances, layout.input_hw, sigma)
    return maps.max(axis=(1, 2)), maps


def textbook_distances(train, test, layout, channels, regularisation, shrinkage=0.0):
    """Mahalanobis distances (N, h, w) of `textbook_padim`, before the map is enlarged."""
    new = _concatenated(test, layout, _finest(layout))[:, channels]
    means, covariances = textbook_gaussians(train, layout, channels, regularisation, shrinkage)
    rows, columns = means.shape[:2]
    distances = np.zeros((len(new), rows, columns))
    for row in range(rows):
        for column in range(columns):
            inverse = np.linalg.inv(covariances[row, column])
            centred = new[:, :, row, column] - means[row, column]
            distances[:, row, column] = np.sqrt(np.einsum("ni,ij,nj->n", centred, inverse, centred))
    return distances


def textbook_gaussians(train, layout, channels, regularisation, shrinkage=0.0):
    """Means (h, w, d) and covariances (h, w, d, d) of all finest cells, one by one, float64."""
    good = _concatenated(train, layout, _finest(layout))[:, channels]
    _, size, rows, columns = good.shape
    covariances = np.zeros((rows, columns, size, size))
    for row in range(rows):
        for column in range(columns):
            sample = np.cov(good[:, :, row, column], rowvar=False, ddof=1)
            covariances[row, column] = sample.reshape(size, size)
    inside = layout.cell_share((rows, columns)).numpy() > 0
    shared = covariances[inside].mean(axis=0)
    drawn = (1 - shrinkage) * covariances + shrinkage * shared
    return good.mean(axis=0).transpose(1, 2, 0), drawn + regularisation * np.eye(size)


def _finest(layout):
    return min(layout.layers, key=lambda layer: layer.stride)


def _concatenated(features, layout, finest):
    parts = []
    for layer in layout.layers:
        repeat = layer.stride // finest.stride
        coarse = features.maps[layer.name].double().numpy()
        fine = coarse.repeat(repeat, axis=2).repeat(repeat, axis=3)
        parts.append(fine[:, :, : finest.grid_hw[0], : finest.grid_hw[1]])
    return np.concatenate(parts, axis=1)


def enlarged_and_blurred(maps, size_hw, sigma):
    """Bilinear enlargement, then scipy's Gaussian filter."""
    large = F.interpolate(
        torch.from_numpy(maps)[:, None], size=size_hw, mode="bilinear", align_corners=False
    )[:, 0].numpy()
    if sigma == 0:
        return large
    return np.stack([gaussian_filter(item, sigma, mode="reflect", truncate=4) for item in large])


def state_of(scorer):
    """Fitted numbers by name."""
    return {name: value.clone() for name, value in scorer.state_dict().items()}


def assert_same_state(one, other, *, rtol=1e-9, atol=1e-9):
    """float64 statistics agree to rounding; float32 factors to theirs."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        loose = value.dtype == torch.float32
        torch.testing.assert_close(
            value,
            other[name],
            rtol=2e-4 if loose else rtol,
            atol=1e-5 if loose else atol,
            msg=lambda message, name=name: f"{name}: {message}",
        )
