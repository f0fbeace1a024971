"""Frames of any shape: what a fit accepts is exported, loaded and timed."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.edge import InputSpec, MeasuredSpec, prepare
from anomalib_lite.edge.benchmark import measure
from anomalib_lite.edge.inputs import Inputs, prepare_view, shrink_view
from anomalib_lite.edge.resize import in_shape, shrink, shrunk_hw

SHAPES = [(3, 3), (1, 10_000), (10_000, 1), (2, 9_000), (15_000, 2), (3, 1_000), (37, 8_192)]


def frames(shape, count=5, dtype=np.uint8):
    rng = np.random.default_rng(shape[0])
    return [rng.integers(0, 200, shape, dtype) for _ in range(count)]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_fitted_is_exported_judged_and_timed(shape, tmp_path):
    good = frames((*shape, 3))
    detector = Detector("mvg", backbone="filters", image_size=32).fit(good)
    detector.export(tmp_path / "part.onnx")
    edge = EdgeModel(tmp_path / "part.onnx")
    assert all(probe.passed for probe in edge.check())
    assert edge.predict(good[0]).score == pytest.approx(detector.predict(good[0]).score, rel=1e-4)
    assert measure(edge, repeats=5).frame_hw == shape


@settings(max_examples=300, deadline=None)
@given(
    rows=st.integers(1, 10_000),
    columns=st.integers(1, 10_000),
    longest=st.sampled_from([20, 256, 320]),
)
def test_small_copies_keep_the_shape(rows, columns, longest):
    height, width = shrunk_hw((rows, columns), longest)
    assert 1 <= height <= rows
    assert 1 <= width <= columns
    assert (width / height) / (columns / rows) == pytest.approx(1, abs=0.051)
    assert max(height, width) <= longest or min(height, width) == 1


@settings(max_examples=100, deadline=None)
@given(short=st.integers(1, 40), long=st.integers(1, 10_000), tall=st.booleans())
def test_a_sample_passes_the_check_of_its_own_detector(short, long, tall):
    shape = (long, short) if tall else (short, long)
    frame = np.zeros(shape, np.uint8)
    aspect = float(f"{shape[1] / shape[0]:.4g}")
    spec = InputSpec(32, 32, aspect=aspect)
    prepare(frame, spec)
    prepare(shrink(frame, 320), spec)
    measured = {"frames": frame, "depth": np.ones((max(1, shape[0] // 2), shape[1] // 2 + 1), "f4")}
    inputs = Inputs(replace(spec, aspect=None), {"depth": MeasuredSpec(32, 32)})
    if abs(measured["depth"].shape[1] / measured["depth"].shape[0] / aspect - 1) < 0.02:
        prepare_view(shrink_view(measured, 320), inputs)


def test_a_sample_that_an_earlier_version_rounded_out_of_shape_is_put_right(tmp_path):
    detector = Detector("mvg", backbone="filters", image_size=32).fit(frames((64, 8192)))
    squeezed = tuple(
        cv2.resize(item, (320, 2), interpolation=cv2.INTER_AREA) for item in detector.data.samples
    )
    detector._data = replace(detector.data, samples=squeezed)
    loaded = Detector.load(detector.save(tmp_path / "old.safetensors"))
    assert loaded.export(tmp_path / "part.onnx").parity.passed


@pytest.mark.parametrize(
    ("shape", "aspect", "expected"),
    [
        ((2, 320), 128.0, (2, 256)),
        ((320, 2), 1 / 128, (256, 2)),
        ((2, 320), None, (2, 320)),
        ((100, 104), 1.0, (100, 104)),
        ((2, 320, 3), 128.0, (2, 256, 3)),
    ],
)
def test_only_what_is_out_of_shape_is_stretched(shape, aspect, expected):
    assert in_shape(np.zeros(shape, np.uint8), aspect).shape == expected
