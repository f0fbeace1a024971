"""How results look: one line of text, a picture, a file, a notebook cell."""

import pickle
import sys
import webbrowser
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from anomalib_lite import EdgeModel
from anomalib_lite.edge import Calibration, FrameError, InputSpec, SettingsError, read_frame
from anomalib_lite.edge.prediction import make_prediction
from anomalib_lite.report.heatmaps import overlay

CALIBRATION = Calibration.from_scores(
    [1, 2, 3], [1, 2, 3], max_false_reject=0.25, method="held out"
)
FRAME = np.full((32, 48, 3), 90, np.uint8)
MAP = np.zeros((4, 6), np.float32)
MAP[1, 2] = 6


def judged(score=5.0, network_map=MAP, frame_hw=(32, 48), spec=None):
    return make_prediction(
        score,
        np.asarray(network_map, np.float32),
        frame_hw,
        calibration=CALIBRATION,
        spec=spec or InputSpec(16, 16),
    )


def decoded(png):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), 4)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (judged(), "Prediction(score=5, p_value=0.25, anomalous, 1 region, frame 32x48)"),
        (
            judged(1.5, np.zeros((4, 6))),
            "Prediction(score=1.5, p_value=0.75, good, 0 regions, frame 32x48)",
        ),
        (
            CALIBRATION,
            "Calibration(threshold 3, 25 % of good frames rejected on average, at most 63 % with "
            "95 % confidence, 3 good images, held out)",
        ),
    ],
    ids=["anomalous", "good", "calibration"],
)
def test_results_are_one_readable_line(item, expected):
    assert repr(item) == expected


def test_models_are_one_readable_line(padim, padim_files, tmp_path, monkeypatch):
    promise = (
        f"threshold {padim.threshold:.4g}, 7.7 % of good frames rejected on average, at most 22 % "
        "with 95 % confidence"
    )
    assert repr(padim) == (
        "Detector('padim', backbone='filters', image_size=(64, 64), fitted on 12 images, "
        f"{promise})"
    )
    edge = EdgeModel(padim_files[1], threads=1)
    assert repr(edge) == (
        f"EdgeModel('{padim_files[1]}', padim on filters, image_size=(64, 64), {promise}, "
        f"{edge.engine}, 1 threads)"
    )
    assert edge.threshold == padim.threshold == padim.calibration.threshold


def test_the_picture_is_the_one_of_reports():
    prediction = judged()
    picture = prediction.picture(FRAME)
    np.testing.assert_array_equal(picture, overlay(FRAME, prediction, CALIBRATION))
    assert picture.shape == (32, 48, 3)
    assert tuple(picture[0, 0]) == (214, 30, 30)
    assert tuple(judged(1.0).picture(FRAME)[0, 0]) == (40, 140, 60)
    box = prediction.regions[0]
    assert tuple(picture[box.y, box.x]) == (255, 255, 255)
    assert tuple(picture[28, 44]) == (90, 90, 90)


def test_a_map_of_one_cell_is_not_painted():
    picture = judged(5.0, [[5.0]]).picture(FRAME)
    assert (picture[4:-4, 4:-4] == 90).all()


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".jpeg", ".webp"])
def test_a_picture_is_saved_by_its_suffix(suffix, tmp_path):
    prediction = judged()
    path = prediction.save(tmp_path / f"new folder/x{suffix}", FRAME)
    difference = np.abs(read_frame(path).astype(int) - prediction.picture(FRAME))
    assert difference.mean() < (1e-9 if suffix.lower() == ".png" else 12)


@pytest.mark.parametrize("name", ["x", "x.bmp", "x.npy"])
def test_other_suffixes_are_refused(name, tmp_path):
    with pytest.raises(SettingsError, match=r"saved as \.png, \.jpg, \.jpeg, \.webp"):
        judged().save(tmp_path / name, FRAME)
    assert list(tmp_path.iterdir()) == []


def test_without_the_frame_it_says_how_to_give_it(tmp_path):
    for call in (judged().picture, judged().show, lambda: judged().save(tmp_path / "x.png")):
        with pytest.raises(FrameError, match=r"save\(path, frame\).*keep_frame=True"):
            call()


def test_another_frame_than_the_one_that_was_judged_is_refused():
    with pytest.raises(FrameError, match="this frame is 48x32, the one that was judged was 32x48"):
        judged().picture(FRAME.transpose(1, 0, 2))


def test_sixteen_bit_and_float_frames_are_drawn_as_they_are_declared():
    deep = judged(spec=InputSpec(16, 16, bit_depth=12))
    dark = deep.picture(np.full((32, 48), 4095 * 90 // 255, np.uint16))
    assert tuple(dark[28, 44]) == (89, 89, 89)
    light = judged().picture(np.full((32, 48, 3), 1.0, np.float32), value_range=(0, 1))
    assert tuple(light[28, 44]) == (255, 255, 255)


def test_a_notebook_gets_a_small_png_of_the_frame_or_of_the_map_alone():
    plain = decoded(judged()._repr_png_())
    assert plain.shape == (32, 48, 3)
    assert tuple(plain[28, 44]) == (150, 150, 150)
    large = judged(frame_hw=(1000, 2000))
    assert decoded(large._repr_png_()).shape == (320, 640, 3)
    assert judged(5.0, [[5.0]])._repr_png_() is None


def test_show_displays_in_a_running_notebook(monkeypatch):
    published = []
    shell = SimpleNamespace(kernel=object(), display_pub=SimpleNamespace(publish=published.append))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    judged().show(FRAME)
    np.testing.assert_array_equal(decoded(published[0]["image/png"]), judged().picture(FRAME))


def test_show_opens_a_viewer_elsewhere_and_says_when_there_is_none(monkeypatch, tmp_path):
    opened = []
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(webbrowser, "open", lambda address: not opened.append(address))
    judged().show(FRAME)
    judged().show(FRAME)
    (path,) = tmp_path.iterdir()
    assert opened == [path.as_uri()] * 2
    np.testing.assert_array_equal(read_frame(path), judged().picture(FRAME))
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    with pytest.raises(SettingsError, match=r"no viewer for pictures; call save\('picture.png'\)"):
        judged().show(FRAME)


def test_a_prediction_travels_between_processes():
    found = pickle.loads(pickle.dumps(judged()))
    np.testing.assert_array_equal(found.picture(FRAME), judged().picture(FRAME))
