"""What people call cameras, streams and models: one line says how it is written here."""

import shutil

import cv2
import numpy as np
import pytest

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.backbones.weights import WEIGHTS_FOLDER_VARIABLE, find_weights, no_weights
from anomalib_lite.edge.engines import OnnxRuntimeEngine
from anomalib_lite.edge.errors import (
    FitError,
    FrameError,
    ModelFileError,
    SourceError,
    WeightsError,
)
from anomalib_lite.edge.running import onnxruntime_engine
from anomalib_lite.edge.source_kinds.source_names import spelling_of
from anomalib_lite.edge.sources import open_source

FIT = ["--detector", "padim", "--image-size", "64", "--set", "num_features=12"]


def only_error(err):
    """The one line that speaks of an error."""
    assert "Traceback" not in err
    (found,) = [text for text in err.splitlines() if text.startswith("error: ")]
    return found


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("rtsp://127.0.0.1:9/x", "network streams are not read"),
        ("/dev/video41", "write camera:41"),
        ("0", "write camera:0"),
        ("camera:abc", "a camera is written camera:N"),
    ],
)
def test_a_camera_named_otherwise_is_told_its_spelling(run, padim_files, tmp_path, source, said):
    status, _, err = run("score", padim_files[1], source, "--out", tmp_path / "o")
    assert status == 2
    assert said in only_error(err)
    assert "camera:N" in only_error(err)


@pytest.mark.parametrize("command", ["fit", "score-pool", "audit"])
def test_every_command_that_reads_frames_tells_it(run, tmp_path, command):
    out = tmp_path / ("o.safetensors" if command == "fit" else "o")
    _, _, err = run(command, "rtsp://cam.local/live", "--out", out)
    assert "network streams are not read" in only_error(err)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RTSP://host/1", "network streams"),
        ("udp://@:5000", "network streams"),
        ("http://host/video.mjpg", "nothing is fetched"),
        ("s3://bucket/parts", "nothing is fetched"),
        ("usb:", "write camera:0"),
        ("usb:0", "write camera:0"),
        ("usb:2", "write camera:2"),
        ("usb1", "write camera:1"),
        ("v4l2:///dev/video3", "write camera:3"),
        ("v4l2:/dev/video3", "write camera:3"),
        ("v4l2://", "write camera:0"),
        ("/dev/v4l/by-id/usb-Logitech-index0", "a camera is written camera:N"),
        ("gige:", "by their maker's program"),
        ("gige://192.168.1.4", "by their maker's program"),
        ("GigE:0", "by their maker's program"),
        ("pylon:0", "by their maker's program"),
        ("192.168.0.10", "network streams"),
        ("192.168.0.10:554/live", "network streams"),
        ("[fe80::1]:554", "network streams"),
        ("camera.local:8554", "network streams"),
        ("-", "standard input is not read"),
        ("/dev/stdin", "standard input is not read"),
        ("usb", ""),
        ("usb/parts", ""),
        ("gige_parts", ""),
        ("video", ""),
        ("video.mp4", ""),
        ("1.2.3", ""),
        ("parts:v2", ""),
        ("file:///data/parts", "write the path alone: /data/parts"),
        ("-1", "write camera:0"),
        ("2", "write camera:2"),
        ("camera", "a camera is written camera:N"),
        ("Camera:0", "a camera is written camera:N"),
        ("cam0", "a camera is written camera:N"),
        ("webcam", "a camera is written camera:N"),
        ("USB camera 1", "a camera is written camera:N"),
        ("~/parts", "'~' in quotes"),
        ("parts/good", ""),
        ("campaign", ""),
        ("camshaft/good", ""),
        ("camera1.png", ""),
        ("2024-01-05", ""),
    ],
)
def test_only_what_looks_like_a_camera_or_an_address_is_corrected(text, said):
    found = spelling_of(text)
    assert said in found
    assert bool(found) == bool(said)


def test_folders_and_files_of_such_names_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("0", "webcam", "camera:abc"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), np.zeros((8, 8, 3), np.uint8))
        assert len(open_source(name)) == 1
    with pytest.raises(SourceError, match=r"1: no such folder.* camera:1"):
        open_source("1")


def test_predict_tells_it_too(padim_files):
    with pytest.raises(FrameError, match="network streams are not read"):
        EdgeModel(padim_files[1]).predict("rtsp://127.0.0.1:9/x")


def test_numbers_without_a_range_are_told_what_white_is(padim_files):
    with pytest.raises(FrameError, match="give uint8 pixels") as told:
        EdgeModel(padim_files[1]).predict(np.zeros((64, 64, 3), np.float32))
    assert "bit depth" not in str(told.value)


def test_results_into_a_file_are_told_to_name_a_folder(run, padim_files, good_folder, tmp_path):
    (tmp_path / "afile").touch()
    status, _, err = run("score", padim_files[1], good_folder, "--out", tmp_path / "afile")
    assert status == 2
    assert only_error(err).endswith("afile: is a file; name a folder")
    assert (tmp_path / "afile").read_bytes() == b""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--steps", "5"], "--steps is not an option of patchcore"),
        (["--detector", "padim", "--steps", "5"], "--steps is not an option of padim"),
        (["--set", "num_feature=5", "--detector", "padim"], "num_features"),
    ],
)
def test_an_option_of_another_detector_is_named_as_the_user_wrote_it(
    run, good_folder, tmp_path, options, said
):
    _, _, err = run("fit", good_folder, "--out", tmp_path / "m.safetensors", *options)
    assert said in only_error(err)
    assert "keyword" not in err


def test_a_model_that_is_not_fitted_says_so_whatever_is_asked(good_frames, good_folder, tmp_path):
    asked = {
        "predict": lambda model: model.predict(str(good_folder / "000.png")),
        "predict a folder": lambda model: model.predict(str(good_folder)),
        "predict_batch": lambda model: model.predict_batch(good_frames[:2]),
        "threshold": lambda model: model.threshold,
        "calibration": lambda model: model.calibration,
        "save": lambda model: model.save(tmp_path / "a.safetensors"),
        "export": lambda model: model.export(tmp_path / "a.onnx"),
        "recalibrate": lambda model: model.recalibrate(0.05),
    }
    for name in ("padim", "mvg", "knn"):
        for what, ask in asked.items():
            with pytest.raises(FitError, match="not fitted yet"):
                ask(Detector(name, backbone="filters", image_size=64))
            assert what


@pytest.fixture
def deep_folder(good_folder, tmp_path):
    """Good images of a 12-bit camera."""
    folder = tmp_path / "deep"
    folder.mkdir()
    for path in sorted(good_folder.iterdir()):
        cv2.imwrite(str(folder / path.name), cv2.imread(str(path)).astype(np.uint16) * 16)
    return folder


def test_a_fit_without_a_usable_image_says_why(run, deep_folder, tmp_path):
    status, _, err = run("fit", deep_folder, "--out", tmp_path / "m.safetensors", *FIT)
    assert status == 2
    assert "0 usable good image(s)" in only_error(err)
    assert "000.png and 11 more: frame is uint16" in only_error(err)
    assert "--bit-depth 12" in only_error(err)


@pytest.mark.parametrize("command", ["audit", "score-pool", "update", "evaluate"])
def test_every_command_that_learns_says_why(run, padim_files, deep_folder, tmp_path, command):
    small = ["--backbone", "filters", "--image-size", "64"]
    if command == "update":
        given = [padim_files[0], "--add", deep_folder, "--out", tmp_path / "new.safetensors"]
    elif command == "evaluate":
        thing = tmp_path / "data" / "thing"
        for part in ("train/good", "test/good", "test/bad"):
            shutil.copytree(deep_folder, thing / part)
        given = ["--data", f"mvtec:{tmp_path / 'data'}", "--detector", "padim", *small]
        given += ["--out", tmp_path / "o"]
    else:
        given = [deep_folder, "--out", tmp_path / "o", *small]
    status, _, err = run(command, *given)
    assert status != 0
    assert "frame is uint16" in only_error(err)
    assert "12 could not be used" in only_error(err)


def test_the_error_of_a_fit_carries_every_reason(deep_folder):
    with pytest.raises(FitError) as told:
        Detector("padim", backbone="filters", image_size=64).fit(str(deep_folder))
    assert len(told.value.reasons) == 12
    assert all("uint16" in why for why in told.value.reasons.values())


def test_a_detector_given_to_the_edge_is_to_be_exported(padim_files, tmp_path):
    renamed = tmp_path / "part.onnx"
    shutil.copy(padim_files[0], renamed)
    for path in (padim_files[0], renamed):
        with pytest.raises(ModelFileError, match=r"export it: anomalib-lite export \S+ \S+\.onnx"):
            EdgeModel(path)


def test_an_edge_file_given_as_a_detector_names_what_opens_it(padim_files, tmp_path):
    renamed = tmp_path / "part.safetensors"
    shutil.copy(padim_files[1], renamed)
    for path in (padim_files[1], renamed):
        with pytest.raises(ModelFileError, match=r"is the edge file.*open it with EdgeModel"):
            Detector.load(path)


@pytest.mark.parametrize("command", ["check", "info", "bench", "score"])
@pytest.mark.parametrize("kind", [0, 1])
def test_a_file_under_the_name_of_the_other_kind_is_recognised(
    run, padim_files, good_folder, tmp_path, command, kind
):
    wrong = tmp_path / ("part.onnx" if kind == 0 else "part.safetensors")
    shutil.copy(padim_files[kind], wrong)
    more = [good_folder, "--out", tmp_path / "o"] if command == "score" else []
    status, _, err = run(command, wrong, *more)
    assert status == 2
    assert "corrupt" not in err
    assert ("is the detector", "is the edge file")[kind] in only_error(err) or command == "check"
    assert "export" in only_error(err)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (b"PK\x03\x04rest of an archive", "pickled torch file"),
        (b"\x80\x04\x95rest", "a pickle"),
        (b"<!doctype html><html>", "a web page"),
        (b"\x89PNG\r\n\x1a\nrest", "a picture"),
        (b"\x08\x07\x12\x04torn", "not a readable"),
    ],
)
@pytest.mark.parametrize("suffix", [".onnx", ".safetensors"])
def test_what_is_no_model_is_called_what_it_is(tmp_path, content, said, suffix):
    path = tmp_path / f"part{suffix}"
    path.write_bytes(content)
    open_it = EdgeModel if suffix == ".onnx" else Detector.load
    with pytest.raises(ModelFileError, match=said):
        open_it(path)


def test_a_folder_and_a_missing_suffix_are_told_apart(run, padim_files, good_folder, tmp_path):
    _, _, err = run("score", good_folder, padim_files[1], "--out", tmp_path / "o")
    assert "this is a folder" in only_error(err)
    shutil.copy(padim_files[1], tmp_path / "part.bin")
    _, _, err = run("score", tmp_path / "part.bin", good_folder, "--out", tmp_path / "o")
    assert "its name must end so" in only_error(err)
    _, _, err = run("score", padim_files[1], good_folder, "--out", tmp_path / "o", "--product", "a")
    assert "fitted on a single one; leave the product out" in only_error(err)


def test_an_engine_that_refuses_a_whole_file_is_quoted(padim_files, monkeypatch):
    class Refuses:
        """ONNX Runtime of an earlier version."""

        def __getattr__(self, name):
            return too_old if name == "InferenceSession" else getattr(real, name)

    def too_old(*_, **__):
        raise RuntimeError("[ONNXRuntimeError] : 9 : Unsupported\n model IR version: 10")

    real = onnxruntime_engine.import_onnxruntime()
    monkeypatch.setattr(onnxruntime_engine, "import_onnxruntime", Refuses)
    with pytest.raises(ModelFileError, match=r"Unsupported model IR version: 10") as told:
        OnnxRuntimeEngine(padim_files[1])
    assert "corrupt" not in str(told.value)
    assert "the file is whole" in str(told.value)


def test_weights_that_are_nowhere_are_said_to_be_unset_or_missing(tmp_path, monkeypatch):
    monkeypatch.delenv(WEIGHTS_FOLDER_VARIABLE, raising=False)
    assert "ANOMALIB_LITE_WEIGHTS is not set" in no_weights("resnet18", "offline")
    monkeypatch.setenv(WEIGHTS_FOLDER_VARIABLE, str(tmp_path))
    said = no_weights("resnet18", "offline")
    assert f"{tmp_path} (ANOMALIB_LITE_WEIGHTS) has no resnet18.safetensors" in said
    monkeypatch.setenv(WEIGHTS_FOLDER_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(WeightsError, match=r"ANOMALIB_LITE_WEIGHTS=.*gone: no such folder"):
        find_weights("resnet18", None)
