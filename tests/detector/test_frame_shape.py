"""Frames of another shape than those that were fitted are refused, not squeezed."""

import numpy as np
import pytest

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.edge import FrameError, InputSpec, prepare


def frames(height, width, count=6, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


def small():
    return Detector("mvg", backbone="filters", image_size=64)


@pytest.mark.parametrize(
    ("shape", "accepted"),
    [
        ((80, 120), True),
        ((160, 240), True),
        ((80, 130), True),
        ((80, 111), True),
        ((120, 80), False),
        ((80, 80), False),
        ((90, 160), False),
    ],
)
def test_another_size_is_fine_and_another_shape_is_not(shape, accepted, tmp_path):
    detector = small().fit(frames(80, 120))
    detector.export(tmp_path / "part.onnx")
    frame = frames(*shape, count=1, seed=1)[0]
    for model in (detector, EdgeModel(tmp_path / "part.onnx")):
        if accepted:
            model.predict(frame)
        else:
            with pytest.raises(FrameError, match=r"fitted on frames of width / height 1\.50; crop"):
                model.predict(frame)


def test_a_line_with_frames_of_many_shapes_accepts_any():
    detector = small().fit([*frames(80, 120), *frames(100, 90)])
    assert detector.spec.aspect is None
    detector.predict(frames(50, 200, count=1)[0])


def test_fitting_again_takes_the_new_shape():
    detector = small().fit(frames(80, 120))
    assert detector.fit(frames(120, 80)).spec.aspect == pytest.approx(80 / 120, abs=1e-4)


def test_the_shape_travels_with_the_file(tmp_path):
    detector = small().fit(frames(80, 120))
    assert Detector.load(detector.save(tmp_path / "a.safetensors")).spec.aspect == 1.5


def test_without_a_declared_shape_everything_is_stretched():
    assert prepare(frames(10, 90, count=1)[0], InputSpec(height=32, width=32)).shape == (32, 32, 3)
