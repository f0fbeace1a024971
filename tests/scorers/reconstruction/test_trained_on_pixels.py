"""What holds for every scorer that is trained on pixels."""

import os
import signal

import numpy as np
import pytest
import torch

from anomalib_lite import Detector
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.prepare import InputSpec

SIDE = 32
SETTINGS = {
    "reconstruction": {"steps": 3, "batch_size": 4},
    "draem": {"steps": 4, "batch_size": 2},
}


@pytest.fixture(params=list(SETTINGS))
def detector(request):
    def make(**settings):
        return Detector(
            request.param, **{"image_size": SIDE, **SETTINGS[request.param], **settings}
        )

    return make


def test_an_interrupted_fit_resumes_to_the_same_bytes(detector, good_frames, tmp_path):
    def press(stage, done, total):
        if stage.startswith("training") and done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    torch.manual_seed(77)
    before = torch.get_rng_state()
    stopped = detector().fit(good_frames, progress=press, checkpoint=tmp_path / "state")
    assert stopped.scorer.stopped_early
    resumed = detector().fit(good_frames, checkpoint=tmp_path / "state", resume=True)
    assert torch.equal(torch.get_rng_state(), before)
    fitted = detector().fit(good_frames)
    first, second = (
        fitted.save(tmp_path / "a.safetensors"),
        resumed.save(tmp_path / "b.safetensors"),
    )
    assert first.read_bytes() == second.read_bytes()


def test_pixels_outside_the_region_of_interest_change_nothing(detector, good_frames):
    mask = np.zeros((96, 96), np.uint8)
    mask[16:80, 16:80] = 255
    spec = InputSpec(height=48, width=48).with_roi(mask)

    def fit(frames):
        return detector(image_size=spec, steps=2).fit(frames)

    painted = [frame.copy() for frame in good_frames]
    for index, frame in enumerate(painted):
        frame[:10] = 20 * index
    one, other = fit(painted), fit(good_frames)
    assert one.predict(good_frames[0]).score == other.predict(good_frames[0]).score
    anomaly_map = one.run(np.stack([frame[:48, :48] for frame in good_frames[:1]])).anomaly_map
    assert (anomaly_map[0][~spec.roi] == 0).all()
    assert (anomaly_map[0][spec.roi] > 0).all()


def test_a_picture_that_cannot_be_halved_is_refused(detector):
    with pytest.raises(SettingsError, match="image size of at least 32"):
        detector(image_size=(31, 64))
