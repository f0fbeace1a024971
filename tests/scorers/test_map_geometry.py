"""Maps point at what was seen, at any size: multiples of the stride and all others."""

import math
from copy import copy

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from anomalib_lite.backbones import create_backbone
from anomalib_lite.backbones.base import Backbone
from anomalib_lite.backbones.cells import CellAxis, resampling
from anomalib_lite.backbones.features import FeatureLayout, LayerInfo
from anomalib_lite.detector.graph import DetectorGraph
from anomalib_lite.edge import InputSpec, SettingsError
from anomalib_lite.edge.prediction import find_regions
from anomalib_lite.scorers import FitContext, FrameBatch, Scorer, Scores, create_scorer
from anomalib_lite.scorers.fusion.create import create_fusion
from anomalib_lite.scorers.smoothing import EnlargeAndBlur, OntoGrid
from anomalib_lite.scorers.student_teacher.efficientad_maps import MapHead

STRIDES = (4, 8, 16, 32)
UNPADDED = 9  # pixels around a cell's own that the unpadded network looks at, on each side


class Cells(Backbone):
    """Means over known pixels: those of each cell, padded or cut at the end, or more around it."""

    def __init__(self, strides, kind="padded"):
        super().__init__((0.0,) * 3, (1.0,) * 3)
        self.name, self.kind = f"cells of a {kind} network", kind
        self.strides = {f"stride{stride}": stride for stride in strides}
        self.layer_names = list(self.strides)
        mixed = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, -1, 0], [0, 1, -1]])
        self.register_buffer("mixed", mixed[:, :, None, None])

    def layer_infos(self, input_hw):
        return tuple(
            LayerInfo(name, 5, stride, tuple(self._cells(side, stride) for side in input_hw), start)
            for name, stride in self.strides.items()
            for start in [UNPADDED if self.kind == "unpadded" else 0]
        )

    def _cells(self, side, stride):
        if self.kind == "unpadded":
            return (side - 2 * UNPADDED) // stride
        return math.ceil(side / stride) if self.kind == "padded" else side // stride

    def extract(self, pixels):
        mixed = F.conv2d(pixels, self.mixed)
        return {name: self._means(mixed, stride) for name, stride in self.strides.items()}

    def _means(self, mixed, stride):
        if self.kind == "unpadded":
            # A small share of the margin, so that the network really looks at it.
            near = F.avg_pool2d(mixed, stride + 2 * UNPADDED, stride)
            own = F.avg_pool2d(mixed[..., UNPADDED:-UNPADDED, UNPADDED:-UNPADDED], stride)
            return own + 0.01 * near[..., : own.shape[2], : own.shape[3]]
        return F.avg_pool2d(mixed, stride, ceil_mode=self.kind == "padded", count_include_pad=False)


class Pictures:
    """Plain pictures of different colours as a `FeatureStream`."""

    def __init__(self, backbone, size_hw, count=4, roi=None):
        self.backbone, self.layout = backbone, backbone.layout(size_hw, roi)
        rng = np.random.default_rng(0)
        colours = rng.integers(110, 140, (count, 1, 1, 3), dtype=np.uint8)
        self.frames = torch.from_numpy(np.tile(colours, (1, *size_hw, 1)))
        self.indices = np.arange(count)

    def __len__(self):
        return len(self.indices)

    def __iter__(self):
        yield FrameBatch(self.frames, self.indices, self.features)

    def subset(self, indices):
        narrowed = copy(self)
        narrowed.frames, narrowed.indices = self.frames[indices], self.indices[indices]
        return narrowed

    def features(self, frames):
        features = self.backbone.read(frames)
        require_grids(features.maps, self.layout)
        return features

    def spot(self, row, column):
        frame = self.frames[:1].clone()
        frame[0, row, column] = torch.tensor([255, 0, 255], dtype=torch.uint8)
        return self.features(frame)


class Usual(nn.Module):
    """A perfect student: what the teacher gives for a plain picture, whatever it is shown."""

    def __init__(self, stream):
        super().__init__()
        plain = torch.full((1, *stream.layout.input_hw, 3), 128, dtype=torch.uint8)
        self.maps = stream.features(plain).maps

    def extract(self, pixels):
        return self.maps


def require_grids(maps, layout):
    assert {name: tuple(values.shape[2:]) for name, values in maps.items()} == {
        layer.name: layer.grid_hw for layer in layout.layers
    }


def stfpm(stream):
    scorer = create_scorer("stfpm")
    scorer._fresh = lambda: Usual(stream)
    scorer.build(stream.layout)
    return scorer


def fitted(stream, name, **options):
    scorer = create_scorer(name, **options)
    scorer.build(stream.layout)
    scorer.fit(stream, FitContext())
    return scorer


SCORERS = {
    "patchcore": lambda stream: fitted(stream, "patchcore", rows=900, sigma=1.0),
    "patchcore plain": lambda stream: fitted(
        stream, "patchcore", rows=900, sigma=1.0, embedding="plain"
    ),
    "knn": lambda stream: fitted(stream, "knn", mode="patches", sigma=1.0),
    "padim": lambda stream: fitted(stream, "padim", sigma=1.0),
    "padim compact": lambda stream: fitted(stream, "padim", sigma=1.0, compact=2),
    "stfpm": stfpm,
    "musc": lambda stream: fitted(stream, "musc", references=3, degrees=[1, 3]),
}


class InCells(Scorer):
    """A scorer of somebody's own: the distance to the mean, in the cells of one layer."""

    name = "in_cells"

    def __init__(self, place=0):
        super().__init__()
        self.place = place

    def fit(self, stream, context):
        maps = [batch.features.maps[self.layer] for batch in stream]
        self.register_buffer("mean_", torch.cat(maps).mean(dim=0))

    @property
    def layer(self):
        return self.layout.layers[self.place].name

    def forward(self, features):
        grid = (features.maps[self.layer] - self.mean_).square().sum(dim=1)
        return Scores(grid.amax(dim=(1, 2)), grid)


def fused(members, stream):
    scorer = create_fusion(members, trust="equal")
    scorer.build(stream.layout)
    scorer.fit(stream, FitContext())
    return scorer


FUSIONS = {
    "enlarged and cells": lambda: [create_scorer("padim", sigma=1.0), InCells(-1)],
    "enlarged and pooled": lambda: [create_scorer("padim", sigma=1.0), create_scorer("mvg")],
    "cells of two layers": lambda: [InCells(0), second(InCells(-1))],
}


def second(scorer):
    scorer.name = "second"
    return scorer


def peak_of(scores, near=(0, 0)):
    """The highest pixel; of a plateau, as in front of the outermost centres, the nearest one."""
    anomaly_map = scores.map[0].numpy()
    places = np.argwhere(anomaly_map >= anomaly_map.max() * (1 - 1e-4))
    return places[np.abs(places - near).max(axis=1).argmin()]


def reach(axis, name, layers):
    """How far a peak may lie from the spot, pixels: half a cell, and one for the blur."""
    smears = name in ("patchcore plain", "knn", "padim+knn") or (
        name == "patchcore" and layers == 1
    )
    if smears:
        return 2 * axis.stride  # the means of 3x3 cells are alike wherever the spot is in them
    # With aligned corners, as in the authors' code, the outermost cells lie half a cell off.
    return axis.stride if name == "musc" and axis.tiles else axis.stride / 2 + 1


def compared(layout, name):
    """The layers that a scorer compares."""
    usual = [layer for layer in layout.layers if layer.stride in (8, 16)]
    return layout.layers if name.startswith(("padim", "stfpm")) else usual or layout.layers


PLACES = [
    ((255, 65), (8, 16), "padded", (1.0, 1.0)),
    ((256, 64), (8, 16), "padded", (0.4, 0.7)),
    ((65, 129), (8, 16), "padded", (0.0, 0.93)),
    ((33, 97), (32,), "padded", (1.0, 1.0)),
    ((399, 130), (16, 32), "padded", (0.9, 0.3)),
    ((61, 50), (4, 8, 16), "padded", (0.97, 0.5)),
    ((75, 41), (4,), "padded", (0.2, 0.99)),
    ((60, 71), (8,), "cut", (0.7, 1.0)),
    ((127, 95), (32,), "cut", (1.0, 0.5)),
    ((90, 75), (8,), "unpadded", (0.0, 0.6)),
]


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize(("size_hw", "strides", "kind", "place"), PLACES)
def test_the_peak_lies_within_half_a_cell_of_a_spot(name, size_hw, strides, kind, place):
    stream = Pictures(Cells(strides, kind), size_hw)
    layers = compared(stream.layout, name)
    axes = layers[0].axes(size_hw)
    # A network does not see what it leaves out: the spot lies on a pixel of a cell.
    spot = []
    for share, axis in zip(place, axes, strict=True):
        last = min(axis.pixels, axis.offset + axis.cells * axis.stride) - 1
        spot.append(axis.offset + round(share * (last - axis.offset)))
    found = peak_of(SCORERS[name](stream)(stream.spot(*spot)), spot)
    for where, wanted, axis in zip(found, spot, axes, strict=True):
        assert abs(where - wanted) <= reach(axis, name, len(layers)), (found, spot)


@settings(max_examples=25, deadline=None)
@given(
    size_hw=st.tuples(st.integers(33, 400), st.integers(33, 400)),
    strides=st.sampled_from([(8, 16), (16, 32), (8,), (32,)]),
    kind=st.sampled_from(["padded", "cut", "unpadded"]),
    parts=st.sampled_from([*FUSIONS, "cells alone"]),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@example((127, 95), (8, 16), "cut", "enlarged and cells", (0.45, 0.6))
@example((65, 129), (8, 16), "padded", "cells of two layers", (0.7, 0.5))
@example((127, 130), (16,), "cut", "cells alone", (0.45, 0.5))
def test_the_peak_of_a_fusion_and_of_raw_cells_lies_within_half_a_cell(
    size_hw, strides, kind, parts, place
):
    if kind != "padded":
        strides = strides[-1:]  # of several, the layers of such networks seldom nest
    if kind == "unpadded" and min(size_hw) < 2 * UNPADDED + max(strides):
        return
    stream = Pictures(Cells(strides, kind), size_hw, count=8)
    scorer = fused(FUSIONS[parts](), stream) if parts in FUSIONS else InCells(-1)
    if parts not in FUSIONS:
        scorer.build(stream.layout)
        scorer.fit(stream, FitContext())
    axes = stream.layout.layers[-1].axes(size_hw)
    spot = []
    for share, axis in zip(place, axes, strict=True):
        last = min(axis.pixels, axis.offset + axis.cells * axis.stride) - 1
        spot.append(axis.offset + round(share * (last - axis.offset)))
    frame = stream.frames[:1].clone()
    frame[0, spot[0], spot[1]] = torch.tensor([255, 0, 255], dtype=torch.uint8)
    scores = DetectorGraph(stream.backbone, scorer).scores(frame)
    # What divides the picture evenly stays in cells; a cell is then drawn on its own pixels.
    scale = [pixels / cells for pixels, cells in zip(size_hw, scores.map.shape[1:], strict=True)]
    near = [(pixel + 0.5) / step - 0.5 for pixel, step in zip(spot, scale, strict=True)]
    found = [
        (cell + 0.5) * step - 0.5 for cell, step in zip(peak_of(scores, near), scale, strict=True)
    ]
    for where, wanted, axis in zip(found, spot, axes, strict=True):
        assert abs(where - wanted) <= axis.stride / 2 + 1, (found, spot)


@settings(max_examples=200, deadline=None)
@given(
    stride=st.sampled_from(STRIDES),
    pixels=st.integers(33, 400),
    kind=st.sampled_from(["padded", "cut", "unpadded"]),
    share=st.floats(0, 1),
)
def test_every_cell_is_drawn_where_it_lies(stride, pixels, kind, share):
    """Along one axis, for all sizes: what a scorer with one layer gives for one odd cell."""
    offset = UNPADDED if kind == "unpadded" else 0
    covered = pixels - 2 * offset
    cells = -(-covered // stride) if kind == "padded" else covered // stride
    if cells < 1:
        return
    layer = LayerInfo("a", 1, stride, (cells, 1), offset)
    layout = FeatureLayout((pixels, stride + offset), (layer,))
    enlarge = EnlargeAndBlur.of_grid(layout, (cells, 1), 0.0)
    cell = round(share * (cells - 1))
    maps = torch.zeros(1, cells, 1)
    maps[0, cell] = 1
    along = enlarge(maps)[0, :, 0].numpy()
    peaks = np.flatnonzero(along >= along.max() - 1e-6)
    start, end = layer.axes(layout.input_hw)[0].span(cell)
    for pixel in (start, end - 1):
        assert np.abs(peaks - pixel).min() <= stride / 2


@settings(max_examples=30, deadline=None)
@given(
    size_hw=st.tuples(st.integers(33, 400), st.integers(33, 400)),
    stride=st.sampled_from([4, 8]),
    border=st.sampled_from([0, 4]),
    blind=st.sampled_from([0, 1]),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_efficientad_points_at_the_cell(size_hw, stride, border, blind, place):
    grid = tuple(-(-side // stride) - 2 * border for side in size_hw)
    if min(grid) <= 2 * blind:
        return
    layer = LayerInfo("teacher", 3, stride, grid, border * stride)
    head = MapHead(FeatureLayout(size_hw, (layer,)), grid, border, 1, blind)
    cell = [blind + round(s * (c - 1 - 2 * blind)) for s, c in zip(place, grid, strict=True)]
    maps = torch.zeros(1, *grid)
    maps[0, cell[0], cell[1]] = 1
    _, anomaly_map = head([maps])
    rows, columns = np.nonzero(anomaly_map[0].numpy() > 0.99 * float(anomaly_map.max()))
    for found, index, axis in zip((rows, columns), cell, layer.axes(size_hw), strict=True):
        start, end = axis.span(index)
        # Blind cells repeat their neighbours, so the plateau may reach to the edge.
        assert found.min() < end
        assert found.max() >= start
        if not blind and end - start == stride:
            assert start <= found.min() <= found.max() < end


NETWORKS = [
    ("filters", None),
    ("pdn_edge", ("stride4", "stride8", "stride16", "local")),
    ("pdn_small", ("padded", "valid")),
]


@pytest.mark.parametrize(("name", "layers"), NETWORKS)
@pytest.mark.parametrize("size_hw", [(96, 80), (97, 83), (70, 111)])
def test_networks_look_where_their_layout_says(name, layers, size_hw):
    """Where a cell's gradient lies, on average, is in its cell or half a cell beside it."""
    backbone = create_backbone(name, layers=layers, input_hw=size_hw)
    layout = backbone.layout(size_hw)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(1, 3, *size_hw, generator=generator, requires_grad=True)
    maps = backbone.extract(pixels)
    require_grids(maps, layout)
    for layer in layout.layers:
        rows, columns = layer.axes(size_hw)
        cell = (rows.cells // 2, columns.cells // 2)
        value = maps[layer.name][0, :, cell[0], cell[1]].square().sum()
        (slope,) = torch.autograd.grad(value, pixels, retain_graph=True)
        weight = slope[0].square().sum(dim=0)
        for dim, (axis, index) in enumerate(zip((rows, columns), cell, strict=True)):
            profile = weight.sum(dim=1 - dim)
            looked = float((profile * torch.arange(axis.pixels)).sum() / profile.sum())
            centre = axis.offset + (index + 0.5) * axis.stride - 0.5
            assert abs(looked - centre) <= axis.stride, layer.name


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto"])
def test_grids_of_networks_that_pad_and_of_those_that_do_not(name):
    """Some pad the last cell, others leave it out: layouts tell what comes out."""
    for size_hw in ((64, 96), (65, 97), (79, 90)):
        backbone = create_backbone(name, weights="random", input_hw=size_hw)
        layout = backbone.layout(size_hw)
        with torch.no_grad():
            require_grids(backbone.extract(torch.zeros(1, 3, *size_hw)), layout)
        for layer in layout.layers:
            layer.axes(size_hw)


@pytest.mark.parametrize(
    ("cells", "pixels", "stride", "offset", "expected"),
    [
        (2, 8, 4, 0, [[1, 0], [1, 0], [0.875, 0.125], [0.625, 0.375], [0.375, 0.625]]),
        (2, 5, 4, 0, [[1, 0], [1, 0], [0.875, 0.125], [0.625, 0.375], [0.375, 0.625]]),
        (1, 3, 4, 0, [[1], [1], [1]]),
        (2, 6, 2, 1, [[1, 0], [1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1], [0, 1]]),
        (2, 3, 2, -1, [[0.75, 0.25], [0.25, 0.75], [0, 1]]),
    ],
)
def test_values_stand_at_the_centres_of_cells(cells, pixels, stride, offset, expected):
    found = CellAxis(cells, pixels, stride, offset).enlarging().numpy()
    assert found.shape == (pixels, cells)
    np.testing.assert_allclose(found[: len(expected)], expected)


@pytest.mark.parametrize(
    ("cells", "pixels", "stride", "offset", "expected"),
    [
        (2, 4, 2, 0, [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]),
        (2, 3, 2, 0, [[0.5, 0.5, 0], [0, 0, 1]]),
        (1, 4, 2, 1, [[0, 0.5, 0.5, 0]]),
    ],
)
def test_cells_average_their_own_pixels(cells, pixels, stride, offset, expected):
    axis = CellAxis(cells, pixels, stride, offset)
    np.testing.assert_allclose(axis.averaging().numpy(), expected)
    for cell, row in enumerate(expected):
        assert axis.span(cell) == (row.index(max(row)), pixels - row[::-1].index(max(row)))


@given(st.integers(1, 60), st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]))
def test_resampling_to_finer_cells_is_interpolation_where_they_nest(cells, fine, ratio):
    matrix = resampling(cells, fine * ratio, cells * ratio, fine).numpy()
    identity = torch.eye(cells, dtype=torch.float64)[None]
    expected = F.interpolate(identity, size=cells * ratio, mode="linear", align_corners=False)[0].T
    np.testing.assert_allclose(matrix, expected.numpy(), atol=1e-12)


def test_a_coarse_map_is_cut_where_the_finer_one_ends():
    coarse, fine = LayerInfo("a", 1, 16, (3, 3)), LayerInfo("b", 1, 8, (5, 5))
    maps = torch.arange(9.0).reshape(1, 1, 3, 3)
    whole = F.interpolate(maps, (6, 6), mode="bilinear", align_corners=False)
    torch.testing.assert_close(OntoGrid(coarse, fine)(maps), whole[..., :5, :5])


@pytest.mark.parametrize(
    "layer",
    [
        LayerInfo("unpadded", 1, 4, (56, 56)),
        LayerInfo("one too many", 1, 4, (65, 65)),
        LayerInfo("another stride", 1, 8, (64, 64)),
        LayerInfo("resized", 1, 16, (14, 14)),
    ],
)
def test_cells_that_may_lie_anywhere_are_refused(layer):
    layout = FeatureLayout((256, 256), (layer,))
    with pytest.raises(SettingsError, match=r"where the network looks is not known; choose"):
        EnlargeAndBlur.of_grid(layout, layer.grid_hw, 0.0)


@pytest.mark.parametrize(
    ("name", "size_hw"), [("maxvit_pico_rw_256", (85, 85)), ("xcit_nano_12_p16_224", (97, 97))]
)
def test_a_size_that_a_network_cannot_take_is_refused_in_one_line(name, size_hw):
    with pytest.raises(SettingsError, match=r"^(maxvit|timm cannot read features from xcit).*"):
        create_backbone(name, weights="random", input_hw=size_hw).layout(size_hw)


def test_a_network_without_padding_serves_scores_and_no_maps():
    """What its cells look at is not known; their mean needs no place."""
    size_hw = (128, 128)
    layout = create_backbone("inception_v3", weights="random", input_hw=size_hw).layout(size_hw)
    assert layout.layers[0].grid_hw == (28, 28)
    create_scorer("mvg").build(layout)
    with pytest.raises(SettingsError, match="where the network looks is not known"):
        create_scorer("patchcore").build(layout)


@pytest.mark.parametrize("size_hw", [(72, 88), (75, 89)])
@pytest.mark.parametrize("name", ["padim", "patchcore", "knn", "musc", "stfpm"])
def test_regions_lie_around_the_spot_in_the_frame(name, size_hw):
    stream = Pictures(Cells((8, 16)), size_hw)
    anomaly_map = SCORERS[name](stream)(stream.spot(size_hw[0] - 1, size_hw[1] - 1)).map[0].numpy()
    frame_hw = (3 * size_hw[0], 2 * size_hw[1])
    (region, *_) = find_regions(anomaly_map, 0.9 * float(anomaly_map.max()), frame_hw)
    assert region.y + region.height >= frame_hw[0] - 3 * 8
    assert region.x + region.width >= frame_hw[1] - 2 * 8


@pytest.mark.parametrize("name", ["padim", "patchcore", "knn", "musc"])
def test_the_region_of_interest_is_that_of_the_pixels(name):
    """Where cells reach over the edge, the pixels of a cell decide, not an even division."""
    size_hw = (45, 70)
    mask = np.zeros(size_hw, np.uint8)
    mask[:, 64:] = 255  # the last cell of stride 32, of six pixels
    roi = InputSpec(*size_hw).with_roi(mask).roi
    stream = Pictures(Cells((8, 16)), size_hw, roi=roi)
    np.testing.assert_array_equal(stream.layout.cell_share((6, 9))[:, :8], 0)
    np.testing.assert_array_equal(stream.layout.cell_share((6, 9))[:, 8], 1)
    scorer = SCORERS[name](stream)
    scores = scorer(stream.spot(20, 67))
    assert peak_of(scores)[1] >= 64
    assert not scores.map[0, :, :64].any()
