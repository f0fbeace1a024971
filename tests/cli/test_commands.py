"""The command line: what each command writes, prints and returns."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from anomalib_lite import EdgeModel
from anomalib_lite.edge.engines import OnnxRuntimeEngine

COMMAND = [sys.executable, "-c", "from anomalib_lite.cli.main import run; run()"]
FIT = ["--detector", "padim", "--image-size", "64", "--set", "num_features=12"]


@pytest.fixture
def line(good_frames, scratched, tmp_path):
    """Frames from production: two good, two scratched, one unreadable in between."""
    folder = tmp_path / "line"
    (folder / "shift 2").mkdir(parents=True)
    frames = {"0.png": good_frames[0], "2.png": scratched[0], "shift 2/3.png": scratched[1]}
    for name, frame in {**frames, "shift 2/4.png": good_frames[1]}.items():
        cv2.imwrite(str(folder / name), frame[:, :, ::-1])
    (folder / "1.png").write_bytes(b"not a picture")
    return folder


def results(folder):
    return [json.loads(text) for text in (folder / "results.jsonl").read_text().splitlines()]


def error_line(err):
    """The only line on stderr that speaks of an error; there is no traceback."""
    assert "Traceback" not in err
    lines = [text for text in err.splitlines() if text.startswith("error: ")]
    assert len(lines) == 1
    assert err.splitlines()[-1] == lines[0]
    return lines[0]


def test_from_good_images_to_results(run, good_folder, line, tmp_path):
    detector, edge = tmp_path / "part.safetensors", tmp_path / "part.onnx"
    status, out, err = run("fit", good_folder, "--out", detector, *FIT)
    assert status == 0
    assert "padim on pdn_edge, 12 good images" in out
    assert "1 % needs at least 99 good images; you have 12" in out
    assert "Traceback" not in err
    status, out, _ = run("export", detector, edge)
    assert status == 0
    assert "no verdict flipped" in out
    status, out, _ = run("check", edge)
    assert status == 0
    assert "reproduces the fitted model" in out
    status, out, told = run("score", edge, line, "--out", tmp_path / "out", "--heatmaps")
    assert status == 3
    assert f"unreadable, the first: {line / '1.png'}: " in told
    assert "4 frames" in out
    assert "1 unreadable" in out
    found = results(tmp_path / "out")
    assert [Path(item["frame"]).name for item in found] == [f"{i}.png" for i in range(5)]
    judge = {"model_sha256", "threshold", "promised_false_reject"}
    assert found[1].keys() == {"frame", "error"} | judge
    assert found[1]["error"].startswith("not a readable image")
    model = EdgeModel(edge)
    for item in (found[0], *found[2:]):
        assert item.keys() == {"frame", "score", "p_value", "is_anomalous", "regions"} | judge
        expected = model.predict(item["frame"]).to_dict()
        assert {key: value for key, value in item.items() if key not in judge | {"frame"}} == (
            expected
        )
    pictures = {path.name for path in (tmp_path / "out" / "heatmaps").iterdir()}
    assert len(pictures) == 4
    assert not list((tmp_path / "out").glob("*.part"))


@pytest.mark.parametrize("files", ["padim_files", "mvg_files"])
def test_both_kinds_of_file_give_the_same_numbers(run, files, line, tmp_path, request):
    for path in request.getfixturevalue(files):
        status, _, _ = run("score", path, line, "--out", tmp_path / path.suffix, "--batch", 3)
        assert status == 3
    one, other = results(tmp_path / ".safetensors"), results(tmp_path / ".onnx")
    for left, right in zip(one, other, strict=True):
        assert left["frame"] == right["frame"]
        if "error" in left:
            assert left["error"] == right["error"]
            continue
        assert left["score"] == pytest.approx(right["score"], rel=1e-4)
        assert left["p_value"] == right["p_value"]
        assert left["is_anomalous"] == right["is_anomalous"]
        for a, b in zip(left["regions"], right["regions"], strict=True):
            assert (a["x"], a["y"], a["width"], a["height"]) == (
                b["x"],
                b["y"],
                b["width"],
                b["height"],
            )


@pytest.mark.parametrize("batch", [2, 4, 256])
def test_the_batch_does_not_change_the_results(run, padim_files, line, tmp_path, batch):
    run("score", padim_files[1], line, "--out", tmp_path / "1")
    run("score", padim_files[1], line, "--out", tmp_path / "n", "--batch", batch)
    for one, many in zip(results(tmp_path / "1"), results(tmp_path / "n"), strict=True):
        assert one["frame"] == many["frame"]
        assert one.get("error") == many.get("error")
        if "score" in one:
            assert one["score"] == pytest.approx(many["score"], rel=1e-5)


def test_readable_frames_end_with_status_zero(run, padim_files, good_folder, tmp_path):
    status, out, _ = run("score", padim_files[1], good_folder, "--out", tmp_path / "out")
    assert status == 0
    assert len(results(tmp_path / "out")) == 12
    assert "0 unreadable" in out
    assert not (tmp_path / "out" / "heatmaps").exists()


@pytest.mark.parametrize("kind", [0, 1])
def test_another_false_reject_rate_when_scoring(run, padim_files, good_folder, tmp_path, kind):
    """All good frames at a rate of 90 %: the threshold drops, the scores stay."""
    for name, options in (("as", []), ("strict", ["--max-false-reject", "0.9"])):
        run("score", padim_files[kind], good_folder, "--out", tmp_path / name, *options)
    plain, strict = results(tmp_path / "as"), results(tmp_path / "strict")
    assert [item["score"] for item in plain] == [item["score"] for item in strict]
    threshold = EdgeModel(padim_files[1]).calibration.with_rate(0.9).threshold
    assert [item["is_anomalous"] for item in strict] == [
        item["score"] > threshold for item in strict
    ]


def test_unusable_images_are_listed_by_fit_and_give_status_three(run, good_folder, tmp_path):
    folder = tmp_path / "good"
    shutil.copytree(good_folder, folder)
    (folder / "bad.png").write_bytes(b"x")
    status, out, _ = run("fit", folder, "--out", tmp_path / "x.safetensors", *FIT)
    assert status == 3
    assert "12 good images" in out
    assert "1 image(s) could not be used" in out
    assert "bad.png: not a readable image" in out
    assert (tmp_path / "x.safetensors").is_file()


def test_options_of_fit_reach_the_file(run, good_folder, tmp_path):
    mask = np.zeros((96, 96), np.uint8)
    mask[:48] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    path = tmp_path / "x.safetensors"
    status, out, _ = run(
        *("fit", good_folder, "--out", path, "--detector", "mvg", "--image-size", "48x64"),
        *("--backbone", "filters"),
        *("--layers", "octave1,octave2", "--max-false-reject", "0.2", "--calibration", "holdout"),
        *("--roi", tmp_path / "mask.png", "--colour", "grey", "--alpha", "ignore"),
        *("--exif", "ignore", "--seed", "7", "--set", "components=low"),
    )
    assert status == 0
    assert "for comparison, the chi quantile" in out
    status, out, _ = run("info", path, "--json")
    assert status == 0
    document = json.loads(out)
    assert document["kind"] == "detector"
    spec, about = document["input_spec"], document["about"]
    assert (spec["height"], spec["width"], spec["colour"]) == (48, 64, "grey")
    assert (spec["alpha"], spec["exif"], "roi" in spec) == ("ignore", "ignore", True)
    assert about["backbone"]["layers"] == ["octave1", "octave2"]
    assert about["detector"] == {
        "name": "mvg",
        "settings": {"components": "low", "variance": 0.99, "num_components": None},
    }
    assert about["seed"] == 7
    assert document["calibration"]["method"].startswith("held out")
    assert document["calibration"]["max_false_reject"] == 0.2


@pytest.mark.parametrize("kind", [0, 1])
def test_info_for_people_and_for_programs(run, padim_files, kind):
    path = padim_files[kind]
    status, out, _ = run("info", path)
    assert status == 0
    for words in ("padim", "filters (octave1, octave2, octave3)", "64x64 rgb, 8 bits", "12 good"):
        assert words in out
    assert "one pixel of the network is 1.5 x 1.5 pixels of the frame" in out
    status, out, _ = run("info", path, "--json")
    document = json.loads(out)
    assert document["kind"] == ("detector", "edge file")[kind]
    assert document["size_bytes"] == path.stat().st_size
    assert document["calibration"]["samples"] == 12
    assert "png" not in str(document.get("probes", ""))


@pytest.mark.parametrize(("kind", "engine"), [(0, "torch"), (1, "onnxruntime")])
def test_bench_times_every_stage(run, padim_files, kind, engine):
    status, out, _ = run(
        "bench", padim_files[kind], "--frame-size", "80x120", "--frames", 5, "--json"
    )
    assert status == 0
    document = json.loads(out)
    assert list(document["stages"]) == ["decode", "prepare", "network", "post-processing", "total"]
    assert all(0 <= item["p50_ms"] <= item["p99_ms"] for item in document["stages"].values())
    assert document["frame_hw"] == [80, 120]
    assert document["repeats"] == 5
    assert document["engine"].startswith(engine)
    assert document["frames_per_second"] > 0
    status, out, _ = run("bench", padim_files[kind], "--frames", 5)
    assert status == 0
    assert "post-processing" in out
    assert "frames/s" in out
    assert "one pixel of the network is 1.5 x 1.5 pixels of the frame" in out


def test_check_ends_with_status_one_when_this_machine_differs(run, padim_files, monkeypatch):
    plain = OnnxRuntimeEngine.run

    def wrong(self, frames):
        outputs = plain(self, frames)
        return outputs._replace(score=outputs.score * np.float32(1.01))

    monkeypatch.setattr(OnnxRuntimeEngine, "run", wrong)
    status, out, _ = run("check", padim_files[1])
    assert status == 1
    assert out.count("FAILED") == 5
    assert "does not" in out


MISTAKES = {
    "no such folder": (["fit", "{tmp}/none", "--out", "{tmp}/x.safetensors"], "check the path"),
    "no image": (["fit", "{tmp}", "--out", "{tmp}/x.safetensors"], "holds no image"),
    "out suffix": (["fit", "{good}", "--out", "{tmp}/x.pt"], "must end in .safetensors"),
    "size": (["fit", "{good}", *FIT, "--image-size", "2x3x4"], "write 256 or HxW"),
    "odd digits": (["fit", "{good}", *FIT, "--image-size", "²"], "write 256 or HxW"),
    "small": (["fit", "{good}", *FIT, "--image-size", "8"], "choose 16 to 4096"),
    "backbone": (["fit", "{good}", *FIT, "--backbone", "resnet81"], "unknown backbone"),
    "detector": (["fit", "{good}", *FIT, "--detector", "svm"], "mvg, padim"),
    "layer": (["fit", "{good}", *FIT, "--layers", "a,b"], "choose from stride4"),
    "colour": (["fit", "{good}", *FIT, "--colour", "blue"], "choose one of rgb, grey"),
    "depth": (["fit", "{good}", *FIT, "--bit-depth", "32"], "choose 8 to 16"),
    "rate": (["fit", "{good}", *FIT, "--max-false-reject", "7"], "choose between 0 and 1"),
    "setting": (["fit", "{good}", *FIT, "--set", "sigma"], "write name=value"),
    "bad setting": (["fit", "{good}", *FIT, "--set", "sigma=-2"], "choose 0 to 1000"),
    "text setting": (["fit", "{good}", *FIT, "--set", "sigma=wide"], "padim: "),
    "own option": (["fit", "{good}", *FIT, "--set", "seed=1"], "write --seed instead"),
    "mask": (["fit", "{good}", *FIT, "--roi", "{tmp}/none.png"], "No such file"),
    "weights": (["fit", "{good}", *FIT, "--weights", "{tmp}/none"], "no such weights file"),
    "export": (["export", "{tmp}/none.safetensors", "{tmp}/x.onnx"], "no such file"),
    "export suffix": (["export", "{detector}", "{tmp}/x.bin"], "must end in .onnx"),
    "check": (["check", "{tmp}/none.onnx"], "no such file"),
    "check detector": (["check", "{detector}"], "is a detector"),
    "info": (["info", "{tmp}/none.onnx"], "no such file"),
    "info text": (["info", "{tmp}/notes.txt"], "not a readable"),
    "score model": (["score", "{tmp}/notes.txt", "{good}", "--out", "{tmp}/o"], "expected a .onnx"),
    "score source": (["score", "{edge}", "{tmp}/none", "--out", "{tmp}/o"], "check the path"),
    "camera": (["score", "{edge}", "camera:97", "--out", "{tmp}/o"], "cannot be opened"),
    "engine": (
        ["score", "{edge}", "{good}", "--out", "{tmp}/o", "--engine", "x"],
        "choose one of auto, onnxruntime",
    ),
    "score out": (["score", "{edge}", "{good}", "--out", "{tmp}/notes.txt"], "name a folder"),
    "bench size": (["bench", "{edge}", "--frame-size", "wide"], "write 256 or HxW"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_status_two(run, mistake, good_folder, padim_files, tmp_path):
    arguments, message = MISTAKES[mistake]
    (tmp_path / "notes.txt").write_text("hello")
    places = {
        "tmp": tmp_path,
        "good": good_folder,
        "detector": padim_files[0],
        "edge": padim_files[1],
    }
    arguments = [item.format(**places) for item in arguments]
    if arguments[0] == "fit" and "--out" not in arguments:
        arguments += ["--out", str(tmp_path / "x.safetensors")]
    status, out, err = run(*arguments)
    assert message in error_line(err)
    assert status == 2
    assert "Traceback" not in out
    left = {path.name for path in tmp_path.iterdir()} - {"notes.txt", "o"}
    assert left == set()


@pytest.mark.parametrize(
    "arguments", [["fit"], ["score", "x.onnx"], ["nothing"], ["fit", "x", "--bogus"]]
)
def test_wrong_usage_is_status_two(run, arguments):
    status, _, err = run(*arguments)
    assert status == 2
    assert "Traceback" not in err


def test_help_and_version(run):
    status, out, _ = run("--help")
    assert status == 0
    for name in ("fit", "export", "check", "info", "score", "bench", "demo"):
        assert name in out
    status, out, _ = run("--version")
    assert (status, out.split()[0]) == (0, "anomalib-lite")


def test_an_interrupted_run_leaves_complete_results(padim_files, good_folder, tmp_path):
    """Ctrl-C in the middle: status 130, no traceback, every line so far is a whole object."""
    frames = tmp_path / "many"
    frames.mkdir()
    source = (good_folder / "000.png").read_bytes()
    for index in range(4000):
        (frames / f"{index:05d}.png").write_bytes(source)
    out = tmp_path / "out"
    job = subprocess.Popen(
        [*COMMAND, "score", padim_files[1], frames, "--out", out],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    partial = out / "results.jsonl.part"
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size > 2000):
        assert time.monotonic() < deadline
        assert job.poll() is None
        time.sleep(0.02)
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=60)
    assert job.returncode == 130
    assert "Traceback" not in err
    found = results(out)
    assert 5 < len(found) < 4000
    assert all(item["frame"] == str(frames / f"{i:05d}.png") for i, item in enumerate(found))
    assert not partial.exists()


def test_an_interrupted_fit_writes_nothing(good_folder, tmp_path):
    out = tmp_path / "x.safetensors"
    program = (
        "import os, signal, sys\n"
        "from anomalib_lite.detector import image_stream as streams\n"
        "prepare = streams.prepare_view\n"
        "def stop(*arguments):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return prepare(*arguments)\n"
        "streams.prepare_view = stop\n"
        "from anomalib_lite.cli.main import run\n"
        "run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "fit", good_folder, "--out", out, *FIT],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
