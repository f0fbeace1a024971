"""Pixels outside the region of interest count in nothing, from the first fit to the last map."""

import numpy as np
import pytest

from anomalib_lite import Detector, EdgeModel, InputSpec

MASK = np.zeros((96, 96), np.uint8)
MASK[21:77, 13:58] = 255  # edges on no grid line


def elsewhere(frames, seed):
    """The same frames with noise outside the mask."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (len(frames), *frames[0].shape), np.uint8)
    return [
        np.where(MASK[:, :, None] > 0, frame, other)
        for frame, other in zip(frames, noise, strict=True)
    ]


@pytest.fixture(scope="module", params=["padim", "mvg"])
def twins(request, good_frames):
    """Two detectors, fitted on frames that differ only outside the region."""
    spec = InputSpec(64, 72).with_roi(MASK)
    settings = {"num_features": 12} if request.param == "padim" else {}

    def fit(frames):
        return Detector(request.param, image_size=spec, max_false_reject=0.2, **settings).fit(
            frames
        )

    return fit(good_frames), fit(elsewhere(good_frames, 1))


def test_the_fitted_state_is_the_same(twins):
    one, other = twins
    assert one.calibration == other.calibration
    assert one.data.fingerprint == other.data.fingerprint
    for name, value in one.scorer.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), other.scorer.state_dict()[name].numpy(), name)


def test_score_map_and_regions_are_the_same(twins, scratched, tmp_path):
    one, _ = twins
    one.export(tmp_path / "part.onnx")
    edge = EdgeModel(tmp_path / "part.onnx")
    for model in (one, edge):
        for frame, changed in zip(scratched, elsewhere(scratched, 2), strict=True):
            expected, found = model.predict(frame), model.predict(changed)
            assert found.to_dict() == expected.to_dict()
            np.testing.assert_array_equal(found.anomaly_map, expected.anomaly_map)


def test_maps_and_regions_stay_inside(twins, scratched):
    one, _ = twins
    noise = np.random.default_rng(3).integers(0, 256, (96, 96, 3), np.uint8)
    found = one.predict(noise)
    if not one.localises:
        assert found.regions == ()
        return
    assert found.is_anomalous
    assert found.regions
    assert not found.anomaly_map[MASK == 0].any()
    assert found.score == pytest.approx(found.network_map[one.spec.roi].max())
    for region in found.regions:
        assert 13 <= region.x < region.x + region.width <= 58
        assert 21 <= region.y < region.y + region.height <= 77
    assert one.predict(scratched[0]).score < found.score


def test_the_region_travels_in_both_files(twins, scratched, tmp_path):
    one, _ = twins
    loaded = Detector.load(one.save(tmp_path / "x.safetensors"))
    np.testing.assert_array_equal(loaded.spec.roi, one.spec.roi)
    assert loaded.predict(scratched[0]).to_dict() == one.predict(scratched[0]).to_dict()
    one.export(tmp_path / "x.onnx")
    np.testing.assert_array_equal(EdgeModel(tmp_path / "x.onnx").spec.roi, one.spec.roi)
