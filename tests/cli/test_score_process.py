"""`score` as a process: stopped, resumed, on a full disk, beside another run, over old results."""

import errno
import json
import os
import signal
import sys

import cv2
import numpy as np
import pytest

from anomalib_lite import EdgeModel
from anomalib_lite.cli import results_file
from anomalib_lite.edge.runs.ownership import owned
from anomalib_lite.report import side_outputs
from anomalib_lite.report.heatmaps import flat_name
from anomalib_lite.report.production import ProductionReport

SIGNALS = pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")


@pytest.fixture(autouse=True)
def handlers():
    """A command that was stopped keeps its handlers to the end of its process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def line(good_frames, scratched, tmp_path):
    """Twelve frames, a scratched one among them."""
    folder = tmp_path / "line"
    folder.mkdir()
    for number, frame in enumerate([*good_frames[:11], scratched[0]]):
        cv2.imwrite(str(folder / f"{number:02d}.png"), frame[:, :, ::-1])
    return folder


@pytest.fixture
def at_inference(monkeypatch):
    """Do something at the n-th inference after the self-test, e.g. receive a signal."""
    monkeypatch.setattr(EdgeModel, "_refuse_unless_reproduced", lambda self: None)
    run = EdgeModel.run

    def plan(number, act):
        seen = []

        def acting(self, prepared):
            seen.append(1)
            if len(seen) == number:
                act()
            return run(self, prepared)

        monkeypatch.setattr(EdgeModel, "run", acting)

    return plan


def results(out):
    return [json.loads(text) for text in (out / "results.jsonl").read_text().splitlines()]


def record(out):
    return json.loads((out / "run.json").read_text())


def names(out):
    return sorted(path.name for path in out.iterdir())


def send(number):
    return lambda: os.kill(os.getpid(), number)


@SIGNALS
def test_a_stopped_run_leaves_results_report_and_status(
    run, padim_files, line, tmp_path, at_inference, number, status
):
    """systemctl stop, docker stop, Ctrl-C."""
    out = tmp_path / "out"
    at_inference(6, send(number))
    found = run("score", padim_files[1], line, "--out", out, "--report")
    assert found[0] == status
    assert "interrupted; files written so far are complete" in found[2]
    assert [item["frame"] for item in results(out)] == [
        str(line / f"{index:02d}.png") for index in range(5)
    ]
    assert "Frames judged" in (out / "report.html").read_text()
    assert (record(out)["exit_status"], record(out)["ended"]) == (status, "interrupted")
    assert names(out) == [".resume.json", "report.html", "results.jsonl", "run.json"]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("stops", [[3], [2, 2]], ids=["once", "twice"])
def test_a_resumed_run_ends_in_the_same_bytes(
    run, padim_files, line, tmp_path, at_inference, batch, stops
):
    command = ["score", padim_files[1], line, "--batch", batch, "--heatmaps", "--report", "--out"]
    assert run(*command, tmp_path / "whole")[0] == 0
    out = tmp_path / "out"
    for turn, inference in enumerate(stops):
        at_inference(inference, send(signal.SIGTERM))
        assert run(*command, out, *(["--resume"] if turn else []))[0] == 143
    at_inference(0, None)
    status, said, _ = run(*command, out, "--resume")
    assert status == 0
    assert "12 frames" in said
    whole = tmp_path / "whole"
    assert (out / "results.jsonl").read_bytes() == (whole / "results.jsonl").read_bytes()
    assert names(out) == names(whole)
    assert names(out / "heatmaps") == names(whole / "heatmaps")
    assert record(out)["counts"] == record(whole)["counts"]
    assert "Frames judged 12" in _text(out / "report.html")


def _text(page):
    import re

    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.read_text()))


def test_what_a_kill_left_is_resumed_after_its_last_whole_line(
    run, padim_files, line, tmp_path, at_inference
):
    out, whole = tmp_path / "out", tmp_path / "whole"
    run("score", padim_files[1], line, "--out", whole)
    at_inference(5, send(signal.SIGTERM))
    run("score", padim_files[1], line, "--out", out)
    at_inference(0, None)
    # As kill -9 in the middle of a write leaves it.
    text = (out / "results.jsonl").read_text()
    (out / "results.jsonl").rename(out / "results.jsonl.part")
    (out / "results.jsonl.part").write_text(text + '{"frame": "x')
    (out / "run.json").unlink()
    assert run("score", padim_files[1], line, "--out", out, "--resume")[0] == 0
    assert (out / "results.jsonl").read_bytes() == (whole / "results.jsonl").read_bytes()
    assert names(out) == ["results.jsonl", "run.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--max-false-reject", "0.3"], "another max false reject"),
        (["--batch", "2"], "another batch"),
        (["--heatmaps"], "another heatmaps"),
        ("model", "another model sha256"),
        ("frames", "frame 2 was"),
        ("line", "line 2 is damaged"),
        ("record", "cannot be read"),
    ],
    ids=str,
)
def test_another_run_is_not_gone_on_with(
    run, padim_files, mvg_files, line, tmp_path, at_inference, change, words
):
    out, model, more = tmp_path / "out", padim_files[1], []
    at_inference(5, send(signal.SIGTERM))
    run("score", model, line, "--out", out)
    at_inference(0, None)
    before = (out / "results.jsonl").read_bytes()
    if change == "model":
        model = mvg_files[1]
    elif change == "frames":
        (line / "01.png").rename(line / "99.png")
    elif change == "line":
        before = before.replace(b'\n{"frame"', b'\n{"fr', 1)
        (out / "results.jsonl").write_bytes(before)
    elif change == "record":
        (out / ".resume.json").write_text("{")
    else:
        more = change
    status, _, err = run("score", model, line, "--out", out, "--resume", *more)
    assert status == 2
    assert words in err
    assert "leave --resume out" in err
    assert "Traceback" not in err
    assert (out / "results.jsonl").read_bytes() == before


def test_resume_without_anything_to_go_on_with_begins(run, padim_files, line, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        assert run("score", padim_files[1], line, "--out", out, "--resume")[0] == 0
        assert len(results(out)) == 12


@pytest.mark.parametrize("source", ["camera:99", "empty", "nowhere"])
def test_a_source_that_cannot_be_opened_leaves_yesterdays_results(
    run, padim_files, line, tmp_path, source
):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    run("score", padim_files[1], line, "--out", out, "--report")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    given = source if ":" in source else tmp_path / source
    assert run("score", padim_files[1], given, "--out", out, "--report")[0] == 2
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_run_that_fails_half_way_leaves_earlier_results_and_can_go_on(
    run, padim_files, line, tmp_path, at_inference
):
    def fail():
        raise OSError(errno.EIO, "Input/output error")

    out = tmp_path / "out"
    run("score", padim_files[1], line, "--out", out)
    before = (out / "results.jsonl").read_bytes()
    at_inference(4, fail)
    assert run("score", padim_files[1], line, "--out", out)[0] == 2
    assert (out / "results.jsonl").read_bytes() == before
    assert len((out / "results.jsonl.part").read_text().splitlines()) == 3
    at_inference(0, None)
    assert run("score", padim_files[1], line, "--out", out, "--resume")[0] == 0
    assert (out / "results.jsonl").read_bytes() == before
    assert names(out) == ["results.jsonl", "run.json"]


def test_a_second_run_into_the_same_folder_is_refused(run, padim_files, line, tmp_path):
    out = tmp_path / "out"
    run("score", padim_files[1], line, "--out", out)
    before = (out / "results.jsonl").read_bytes()
    with owned(out):
        status, _, err = run("score", padim_files[1], line, "--out", out)
    assert status == 2
    assert f"{out}: another run is writing there (process {os.getpid()} on " in err
    assert (out / "results.jsonl").read_bytes() == before


@pytest.fixture
def full_disk(monkeypatch):
    """The n-th line finds room for its first bytes only."""

    def after(lines):
        seen = []

        class Full:
            def __getattr__(self, name):
                return getattr(os, name)

            @staticmethod
            def write(handle, data):
                seen.append(1)
                if len(seen) > lines + 1:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return os.write(handle, data[:7] if len(seen) == lines + 1 else data)

        monkeypatch.setattr(results_file, "os", Full())

    return after


@pytest.mark.parametrize("earlier", [False, True], ids=["new folder", "over old results"])
def test_a_full_disk_is_told_with_what_is_whole(
    run, padim_files, line, tmp_path, full_disk, monkeypatch, earlier
):
    out, place = tmp_path / "out", "results.jsonl.part" if earlier else "results.jsonl"
    if earlier:
        run("score", padim_files[1], line, "--out", out)
    before = (out / "results.jsonl").read_bytes() if earlier else b""
    with monkeypatch.context():
        full_disk(4)
        status, _, err = run("score", padim_files[1], line, "--out", out)
    monkeypatch.setattr(results_file, "os", os)
    assert status == 2
    (told,) = [text for text in err.splitlines() if text.startswith("error:")]
    assert "No space left on device; 4 frames are judged" in told
    assert f"their lines in {out / place} are whole" in told
    assert "--resume" in told
    whole = (out / place).read_text()
    assert [json.loads(text)["frame"][-6:] for text in whole.splitlines()] == [
        "00.png",
        "01.png",
        "02.png",
        "03.png",
    ]
    if earlier:
        assert (out / "results.jsonl").read_bytes() == before
        assert f"{out / 'results.jsonl'} is that of an earlier run" in told
    assert run("score", padim_files[1], line, "--out", out, "--resume")[0] == 0
    assert len(results(out)) == 12


def test_heat_maps_that_find_no_room_are_told_and_every_frame_is_judged(
    run, padim_files, line, tmp_path, monkeypatch
):
    written = []

    def full(*arguments):
        written.append(1)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    real = side_outputs.write_heatmap
    monkeypatch.setattr(side_outputs, "write_heatmap", full)
    out = tmp_path / "out"
    status, said, err = run("score", padim_files[1], line, "--out", out, "--heatmaps")
    assert status == 3
    assert "12 frames" in said
    assert "9 pictures or reports could not be written, every frame was judged" in err
    assert "No space left on device" in err
    assert ["heatmap_error" in item for item in results(out)] == [False] * 3 + [True] * 9
    assert len(names(out / "heatmaps")) == 3
    assert record(out)["exit_status"] == 3


@pytest.mark.parametrize("what", ["page", "frame"])
def test_a_report_that_cannot_be_made_does_not_stop_the_judging(
    run, padim_files, line, tmp_path, monkeypatch, what
):
    from anomalib_lite.report import production_page

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    if what == "page":
        monkeypatch.setattr(production_page, "write_production", fail)
    else:
        monkeypatch.setattr(ProductionReport, "add", fail)
    out = tmp_path / "out"
    status, _, err = run("score", padim_files[1], line, "--out", out, "--report")
    assert status == 3
    assert "could not be written, every frame was judged" in err
    assert len(results(out)) == 12


def test_long_and_colliding_names_get_heat_maps_of_their_own(
    run, padim_files, good_frames, tmp_path
):
    """Nested names joined pass 255 bytes; `a/b__c` and `a__b/c` become one name."""
    source, out = tmp_path / "frames", tmp_path / "out"
    places = [
        "/".join(["line_A_station_04_camera_top_left_" + letter * 20 for letter in "abcde"]),
        "a/b__c",
        "a__b/c",
        "a/b/c",
        "ä" * 60 + "/" + "ö" * 60 + "/" + "ü" * 60,
        ".",
    ]
    for place in places:
        (source / place).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(source / place / "image_2026-11-25T10-00-00.png"), good_frames[0])
    assert run("score", padim_files[1], source, "--out", out, "--heatmaps")[0] == 0
    said = [item.get("heatmap") for item in results(out)]
    # The plain ones, "a__b__c__image…" of a/b/c and "image…", need not be told.
    assert said.count(None) == 2
    drawn = names(out / "heatmaps")
    assert len(drawn) == len(places)
    assert {place.removeprefix("heatmaps/") for place in said if place} < set(drawn)
    assert len({place for place in said if place}) == 4


@pytest.mark.parametrize(
    ("names_of_frames", "kept"),
    [
        (["s/a.png", "s/b/c.png", "s/é.png", "s#000012"], True),
        (["s/a/b.png", "s/a__b.png"], False),
        (["s/a_/b.png", "s/a/_b.png"], False),
        (["s/a:b.png", "s/a_b.png", "s/a\\b.png", "s/a/b.png"], False),
        (["s/" + "x" * 300 + "1.png", "s/" + "x" * 300 + "2.png"], False),
        (["s/1" + "x" * 300 + ".png", "s/2" + "x" * 300 + ".png"], False),
        (["s/" + "a/" * 200 + "1.png", "s/" + "a/" * 201 + "1.png"], False),
        (["s/" + "日本" * 100 + ".png", "s/" + "日本" * 101 + ".png"], False),
        ([f"s/\udcff{number}.png" for number in range(3)], True),
    ],
)
def test_a_frame_has_one_file_name_and_no_other_frame_has_it(names_of_frames, kept):
    flat = [flat_name(name, "s") for name in names_of_frames]
    assert len(set(flat)) == len(flat)
    assert all(len(os.fsencode(name)) < 230 and "/" not in name for name in flat)
    assert flat == [flat_name(name, "s") for name in names_of_frames]
    plain = [name[2:].replace("/", "__") for name in names_of_frames]
    assert (flat == plain) is kept


def test_a_line_whose_picture_is_odd_is_still_written(run, padim_files, line, tmp_path):
    cv2.imwrite(str(line / "05.png"), np.zeros((2, 2, 3), np.uint8))
    out = tmp_path / "out"
    run("score", padim_files[1], line, "--out", out, "--heatmaps")
    assert len(results(out)) == 12
