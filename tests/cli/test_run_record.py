"""`run.json` and the lines of `results.jsonl`: who judged a frame, and how the run ended."""

import hashlib
import json
import shutil

import cv2
import numpy as np
import pytest

from anomalib_lite import EdgeModel
from anomalib_lite.cli.run_file import _ending
from anomalib_lite.edge import sources
from anomalib_lite.edge.errors import ModelFileError

TIMES = {"started", "finished"}


@pytest.fixture
def line(good_frames, scratched, tmp_path):
    """A good frame, a scratched one, and one that is no picture."""
    folder = tmp_path / "line"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), good_frames[0][:, :, ::-1])
    cv2.imwrite(str(folder / "1.png"), scratched[0][:, :, ::-1])
    (folder / "2.png").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("lamp changed")
    return folder


def lines(folder):
    return [json.loads(text) for text in (folder / "results.jsonl").read_text().splitlines()]


def record(folder):
    return json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize("kind", [0, 1])
def test_a_line_alone_tells_which_model_judged_it_and_at_which_threshold(
    run, padim_files, line, tmp_path, kind
):
    file, out = padim_files[kind], tmp_path / "out"
    assert run("score", file, line, "--out", out)[0] == 3
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    operating = EdgeModel(padim_files[1]).calibration.operating
    for found in lines(out):
        assert found["model_sha256"] == sha256
        assert found["threshold"] == pytest.approx(operating.threshold, rel=1e-5)
        assert found["promised_false_reject"] == operating.false_reject_rate
        assert "product" not in found
        assert "time" not in found


@pytest.mark.parametrize("kind", [0, 1])
def test_info_shows_the_digest_by_which_lines_name_their_model(run, padim_files, kind):
    sha256 = hashlib.sha256(padim_files[kind].read_bytes()).hexdigest()
    assert sha256 in run("info", padim_files[kind])[1]
    assert json.loads(run("info", padim_files[kind], "--json")[1])["sha256"] == sha256


def test_run_json_holds_what_is_constant_in_a_run(run, padim_files, line, tmp_path):
    out = tmp_path / "out"
    asked = ["--max-false-reject", "0.2", "--batch", "2", "--heatmaps", "--report"]
    assert run("score", padim_files[1], line, "--out", out, *asked)[0] == 3
    found, operating = record(out), EdgeModel(padim_files[1], max_false_reject=0.2).calibration
    assert found["model"]["file"] == str(padim_files[1])
    assert found["model"]["sha256"] == hashlib.sha256(padim_files[1].read_bytes()).hexdigest()
    assert found["model"]["detector"]["name"] == "padim"
    assert found["decision"]["threshold"] == operating.threshold
    assert found["decision"]["max_false_reject"] == 0.2
    assert found["decision"]["promise"] == operating.operating.explain()
    assert found["engine"].startswith("onnxruntime")
    assert {"anomalib_lite", "numpy", "onnxruntime"} <= found["versions"].keys()
    assert found["options"]["batch"] == 2
    assert found["source"] == str(line)
    assert "notes.txt" in found["listing"]
    rejected = sum(item.get("is_anomalous", False) for item in lines(out))
    assert found["counts"] == {"scored": 2, "anomalous": rejected, "unreadable": 1}
    assert (found["exit_status"], found["complete"]) == (3, True)
    assert found["started"] <= found["finished"]
    assert found["started"].endswith("Z")
    assert sorted(found["files"]) == sorted(path.name for path in out.iterdir())
    written = hashlib.sha256((out / "results.jsonl").read_bytes()).hexdigest()
    assert found["results_sha256"] == written


def test_the_same_frames_give_the_same_bytes_but_for_the_times_of_the_run(
    run, padim_files, line, tmp_path
):
    for name in ("one", "two"):
        run("score", padim_files[1], line, "--out", tmp_path / name)
    one, two = tmp_path / "one", tmp_path / "two"
    assert (one / "results.jsonl").read_bytes() == (two / "results.jsonl").read_bytes()
    told = [{**record(folder), **dict.fromkeys(TIMES)} for folder in (one, two)]
    assert told[0] == told[1]


def test_lines_say_when_where_it_is_asked_for(run, padim_files, line, tmp_path):
    out = tmp_path / "out"
    run("score", padim_files[1], line, "--out", out, "--timestamps")
    times, found = [item["time"] for item in lines(out)], record(out)
    assert times == sorted(times)
    assert found["started"] <= times[0]
    assert times[-1] <= found["finished"]


def test_frames_that_come_only_once_always_say_when(
    run, padim_files, good_frames, tmp_path, monkeypatch
):
    class Camera(sources.ArraySource):
        rereadable = False

    frames = Camera([np.ascontiguousarray(frame) for frame in good_frames[:2]], name="camera:0")
    monkeypatch.setattr(sources, "open_source", lambda *_, **__: frames)
    assert run("score", padim_files[1], "camera:0", "--out", tmp_path / "out")[0] == 0
    assert all(item["time"].endswith("Z") for item in lines(tmp_path / "out"))


def test_another_model_is_seen_in_each_line(run, padim_files, mvg_files, line, tmp_path):
    for name, file in (("one", padim_files[1]), ("two", mvg_files[1])):
        run("score", file, line, "--out", tmp_path / name)
    one, two = ({item["model_sha256"] for item in lines(tmp_path / n)} for n in ("one", "two"))
    assert len(one) == len(two) == 1
    assert one != two


def test_the_product_that_was_stated_stands_in_line_and_record(run, good_folder, tmp_path):
    shutil.copytree(good_folder, tmp_path / "parts" / "a")
    shutil.copytree(good_folder, tmp_path / "parts" / "b")
    for path in (tmp_path / "parts" / "b").iterdir():
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    file, out = tmp_path / "two.safetensors", tmp_path / "out"
    small = ["--detector", "gda", "--image-size", "64"]
    assert run("fit", tmp_path / "parts", "--products", "--out", file, *small)[0] == 0
    run("score", file, tmp_path / "parts" / "b", "--out", out, "--product", "b")
    found = record(out)
    assert found["product"] == "b"
    assert {(item["product"], item["threshold"]) for item in lines(out)} == {
        ("b", found["decision"]["threshold"])
    }


def test_a_run_that_breaks_off_says_so_in_its_record(run, padim_files, line, tmp_path, monkeypatch):
    def stop(self, prepared):
        raise KeyboardInterrupt

    monkeypatch.setattr(EdgeModel, "run", stop)
    monkeypatch.setattr(EdgeModel, "_refuse_unless_reproduced", lambda self: None)
    out = tmp_path / "out"
    assert run("score", padim_files[1], line, "--out", out)[0] == 130
    found = record(out)
    assert (found["exit_status"], found["complete"], found["ended"]) == (130, False, "interrupted")
    assert found["counts"]["scored"] == len(lines(out)) == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyboardInterrupt(), (130, "interrupted")),
        (SystemExit(143), (143, "stopped")),
        (ModelFileError("torn"), (2, "torn")),
        (OSError(28, "No space left on device"), (2, "[Errno 28] No space left on device")),
        (ZeroDivisionError("division by zero"), (1, "division by zero")),
        (ValueError(), (1, "ValueError")),
    ],
)
def test_the_exit_status_in_the_record_is_that_of_the_command(error, expected):
    assert _ending(error) == expected


def test_pictures_and_report_of_an_earlier_run_go_with_its_results(
    run, padim_files, line, good_frames, tmp_path
):
    out = tmp_path / "out"
    run("score", padim_files[1], line, "--out", out, "--heatmaps", "--report")
    assert {path.name for path in (out / "heatmaps").iterdir()} == {"0.png.png", "1.png.png"}
    (line / "0.png").rename(line / "3.png")
    run("score", padim_files[1], line, "--out", out, "--heatmaps")
    assert {path.name for path in (out / "heatmaps").iterdir()} == {"1.png.png", "3.png.png"}
    assert not (out / "report.html").exists()
    run("score", padim_files[1], line, "--out", out)
    assert {path.name for path in out.iterdir()} == {"results.jsonl", "run.json"}


def test_files_that_no_run_has_claimed_stay(run, padim_files, line, tmp_path):
    out = tmp_path / "out"
    (out / "heatmaps").mkdir(parents=True)
    kept = [out / "heatmaps" / "mine.png", out / "report.html"]
    for path in kept:
        path.write_bytes(b"mine")
    run("score", padim_files[1], line, "--out", out)
    assert all(path.read_bytes() == b"mine" for path in kept)
    run("score", padim_files[1], line, "--out", out, "--heatmaps")
    (out / "heatmaps" / "notes.txt").write_text("mine, too")
    run("score", padim_files[1], line, "--out", out)
    assert (out / "heatmaps" / "notes.txt").exists()


def test_a_run_that_fails_takes_nothing_of_the_earlier_one(
    run, padim_files, line, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    run("score", padim_files[1], line, "--out", out, "--heatmaps", "--report")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def fail(self, prepared):
        raise ModelFileError("the engine is gone")

    monkeypatch.setattr(EdgeModel, "_refuse_unless_reproduced", lambda self: None)
    monkeypatch.setattr(EdgeModel, "run", fail)
    assert run("score", padim_files[1], line, "--out", out)[0] == 2
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert before.items() <= after.items()


@pytest.mark.parametrize("moment", [1, 2])
def test_a_run_that_fails_draws_over_no_picture_of_the_earlier_one(
    run, padim_files, line, good_frames, tmp_path, monkeypatch, moment
):
    out = tmp_path / "out"
    run("score", padim_files[1], line, "--out", out, "--heatmaps")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    cv2.imwrite(str(line / "0.png"), 255 - good_frames[0])
    cv2.imwrite(str(line / "00.png"), 255 - good_frames[1])
    plain, calls = EdgeModel.run, []

    def fail(self, prepared):
        calls.append(1)
        if len(calls) > moment:
            raise ModelFileError("the engine is gone")
        return plain(self, prepared)

    with monkeypatch.context() as patched:
        patched.setattr(EdgeModel, "_refuse_unless_reproduced", lambda self: None)
        patched.setattr(EdgeModel, "run", fail)
        assert run("score", padim_files[1], line, "--out", out, "--heatmaps")[0] == 2
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert before.items() <= after.items()
    assert {path.name for path in (out / "heatmaps").iterdir()} == {"0.png.png", "1.png.png"}
    assert run("score", padim_files[1], line, "--out", out, "--heatmaps")[0] == 3
    drawn = {path.name for path in (out / "heatmaps").iterdir()}
    assert drawn == {"0.png.png", "00.png.png", "1.png.png"}
    assert {path.name for path in out.iterdir()} == {"heatmaps", "results.jsonl", "run.json"}
