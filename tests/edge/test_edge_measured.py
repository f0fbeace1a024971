"""Measured inputs: exact values, no interpolation, gaps that stay gaps."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalib_lite.edge import FrameError, InputSpec, SettingsError
from anomalib_lite.edge.inputs import Inputs
from anomalib_lite.edge.measured import (
    MeasuredSpec,
    nearest,
    prepare_measured,
    read_measured,
    shrink_measured,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "options", "prepared"),
    [
        # values, then validity
        ([[1.0, 2.0]], {}, [[[1, 1], [2, 1]]]),
        ([[0.0, 2.0]], {}, [[[0, 0], [2, 1]]]),
        ([[0.0, 2.0]], {"zero_is_missing": False}, [[[0, 1], [2, 1]]]),
        ([[NAN, INF]], {"zero_is_missing": False}, [[[0, 0], [0, 0]]]),
        ([[-1.5, -INF]], {}, [[[-1.5, 1], [0, 0]]]),
        ([[1000.0, 2.0]], {"scale": 0.001}, [[[1, 1], [0.002, 1]]]),
        ([[1e39, 1.0]], {}, [[[0, 0], [1, 1]]]),  # float64 that float32 cannot hold
    ],
)
def test_cells_are_scaled_measurements_or_gaps(values, options, prepared):
    spec = MeasuredSpec(1, 2, **options)
    found = prepare_measured(np.array(values), spec)
    np.testing.assert_array_equal(found, np.array(prepared, np.float32))
    assert found.dtype == np.float32


def test_points_are_missing_where_all_are_zero_or_any_is_not_finite():
    points = np.array([[[0, 0, 0], [0, 0, 5], [1, NAN, 2], [1, 2, 3]]], np.float32)
    found = prepare_measured(points, MeasuredSpec(1, 4, channels=3))
    np.testing.assert_array_equal(
        found[0], [[0, 0, 0, 0], [0, 0, 5, 1], [0, 0, 0, 0], [1, 2, 3, 1]]
    )


@pytest.mark.parametrize(
    ("old", "new", "picked"),
    [
        (1, 3, [0, 0, 0]),
        (2, 4, [0, 0, 1, 1]),
        (4, 2, [1, 3]),
        (5, 3, [0, 2, 4]),
        (3, 5, [0, 0, 1, 2, 2]),
        (6, 6, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_new_cell_takes_the_old_one_under_its_centre(old, new, picked):
    assert nearest(np.arange(old)[:, None], (new, 1))[:, 0].tolist() == picked
    assert nearest(np.arange(old)[None], (1, new))[0].tolist() == picked


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
)
def test_a_gap_never_leaks_and_no_value_is_made_up(rows, columns, height, width, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 5, (rows, columns)).astype(np.uint16)
    spec = MeasuredSpec(height, width, stored="uint16")
    found = prepare_measured(values, spec)
    expected = nearest(values, (height, width))
    np.testing.assert_array_equal(found[:, :, 0], expected)
    np.testing.assert_array_equal(found[:, :, 1], expected > 0)
    assert set(np.unique(found[:, :, 0])) <= set(np.unique(values))


@pytest.mark.parametrize("suffix", ["npy", "png", "tiff", "pgm"])
def test_sixteen_bit_files_come_back_as_stored(suffix, tmp_path, rng):
    values = rng.integers(0, 2**16, (5, 7)).astype(np.uint16)
    path = tmp_path / f"x.{suffix}"
    np.save(path, values) if suffix == "npy" else cv2.imwrite(str(path), values)
    np.testing.assert_array_equal(read_measured(path), values)


@pytest.mark.parametrize("channels", [1, 3])
def test_float_files_come_back_as_stored(channels, tmp_path, rng):
    values = rng.normal(size=(5, 7, channels)).astype(np.float32)
    values[0, 0] = NAN
    np.save(tmp_path / "x.npy", values)
    # OpenCV writes the first channel last.
    cv2.imwrite(str(tmp_path / "x.tiff"), values[:, :, ::-1])
    for name in ("x.npy", "x.tiff"):
        found = read_measured(tmp_path / name).reshape(values.shape)
        np.testing.assert_array_equal(found, values)


def test_files_that_are_none_are_one_line(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"none")
    (tmp_path / "x.png").write_bytes(b"none")
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    for name, words in (
        ("x.npy", "not a readable .npy file"),
        ("o.npy", "not a readable .npy file"),
        ("x.png", "not a readable image"),
        ("y.png", "cannot be read"),
    ):
        with pytest.raises(FrameError, match=words) as caught:
            read_measured(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_smaller_copy_keeps_kind_and_values(rng):
    values = rng.integers(0, 9, (40, 80)).astype(np.uint16)
    small = shrink_measured(values, 20)
    assert small.shape == (10, 20)
    assert small.dtype == np.uint16
    assert shrink_measured(values, 100) is not None
    assert shrink_measured(values, 100).shape == values.shape


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": 5}, "5 channels; choose 1 to 4"),
        ({"stored": "int8"}, "choose float32 or uint16"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"scale": NAN}, "scale is nan"),
    ],
)
def test_declarations_that_are_none_are_refused(options, words):
    with pytest.raises(SettingsError, match=words):
        MeasuredSpec(**options)


@pytest.mark.parametrize("name", ["frames", "", "Depth", "a.b", "1st"])
def test_names_that_cannot_be_an_input_are_refused(name):
    with pytest.raises(SettingsError, match="choose another name"):
        Inputs(InputSpec(), {name: MeasuredSpec()})


def test_a_declaration_survives_its_file():
    spec = MeasuredSpec(8, 9, channels=3, scale=0.5, zero_is_missing=False)
    assert MeasuredSpec.from_dict(spec.to_dict()) == spec
    with pytest.raises(ValueError, match="kind of input is 'picture'"):
        MeasuredSpec.from_dict({**spec.to_dict(), "kind": "picture"})
