"""SIGTERM at a write of each long command: outputs are absent or whole, and work can go on."""

import os
import shutil
import signal
import sys

import cv2
import pytest
from safetensors.torch import save_file

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.backbones import create_backbone
from anomalib_lite.cli import main as cli_main
from anomalib_lite.data.parts import render, write_dataset
from anomalib_lite.edge import files
from anomalib_lite.edge.runs.ownership import LOCK
from anomalib_lite.scorers.training import loop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
SMALL = ["--backbone", "filters", "--image-size", 64]


@pytest.fixture(autouse=True)
def handlers():
    """A command that was stopped keeps its handlers to the end of its process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return write_dataset(
        tmp_path_factory.mktemp("parts"), "weave", train=8, test_good=6, test_per_defect=2, size=96
    )


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fresh")
    for index in range(20, 23):
        frame = render("flange", seed=0, index=index, size=96).image
        cv2.imwrite(str(folder / f"{index}.png"), frame[:, :, ::-1])
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "resnet18.safetensors"
    save_file(create_backbone("resnet18", weights="random").net.state_dict(), path)
    return path


@pytest.fixture
def commands(padim_files, good_folder, parts, fresh, teacher, monkeypatch):
    """Each long command, writing into a folder; training leaves its state after every step."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)

    def of(name, out):
        out.mkdir(exist_ok=True)
        if name == "update" and not (out / "part.safetensors").exists():
            shutil.copy(padim_files[0], out / "part.safetensors")
        data = f"mvtec:{parts.parent}:{parts.name}"
        return {
            "fit": ["fit", good_folder, "--out", out / "part.safetensors", "--detector", "mvg"],
            "export": ["export", padim_files[0], out / "part.onnx"],
            "update": ["update", out / "part.safetensors", "--add", fresh],
            "score": ["score", padim_files[1], good_folder, "--out", out, "--report"],
            "score-pool": ["score-pool", good_folder, "--out", out, *SMALL],
            "evaluate": ["evaluate", "--data", data, "--out", out, "--detector", "mvg"],
            "distill": [
                *("distill", good_folder, "--out", out / "net.safetensors", "--weights", teacher),
                *("--steps", 5, "--procedural", 2, "--batch-size", 1, "--crop", 64),
            ],
        }[name] + {"fit": SMALL, "evaluate": [*SMALL, "--seeds", 2]}.get(name, [])

    return of


@pytest.fixture
def stop_at(monkeypatch):
    """SIGTERM before or after a file takes its place, the n-th one; says how many there were."""
    replace = files.os.replace

    def plan(number, when):
        seen = []

        def replacing(source, target):
            seen.append(target)
            if len(seen) == number and when == "before":
                os.kill(os.getpid(), signal.SIGTERM)
            replace(source, target)
            if len(seen) == number and when == "after":
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(files.os, "replace", replacing)
        return seen

    return plan


def left(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "name", ["fit", "export", "update", "score", "score-pool", "evaluate", "distill"]
)
def test_a_signal_in_the_middle_of_a_write_leaves_whole_files(
    run, commands, stop_at, tmp_path, name, when
):
    writes = stop_at(1, when)
    status, said, err = run(*commands(name, tmp_path / "out"))
    assert writes
    assert status == 143
    told = "stopped early" if name == "distill" else "interrupted; files written so far are"
    assert told in said + err
    assert "Traceback" not in err
    found = left(tmp_path / "out")
    drafts = [path for path in found if path.endswith(".part") and path != "results.jsonl.part"]
    assert drafts == []
    assert LOCK not in found
    for path in found:
        if name != "distill" and path.endswith(".safetensors") and "pool-work" not in path:
            Detector.load(tmp_path / "out" / path)
        elif path.endswith(".onnx"):
            EdgeModel(tmp_path / "out" / path)
    assert ("part.onnx" in found) is (name == "export" and when == "after")


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("score", "results.jsonl"),
        ("score-pool", "pool.json"),
        ("evaluate", "metrics.csv"),
        ("distill", "net.safetensors"),
    ],
)
def test_what_was_stopped_ends_in_the_same_bytes_when_it_goes_on(
    run, commands, stop_at, tmp_path, name, result
):
    run(*commands(name, tmp_path / "whole"))
    writes = stop_at(0, "before")
    run(*commands(name, tmp_path / "again"))
    stop_at(2 if name == "distill" else len(writes) // 2 + 1, "before")
    assert run(*commands(name, tmp_path / "out"))[0] == 143
    stop_at(0, "before")
    assert run(*commands(name, tmp_path / "out"), "--resume")[0] == 0
    whole, found = left(tmp_path / "whole"), left(tmp_path / "out")
    assert found.keys() == whole.keys()
    assert found[result] == whole[result]


@pytest.mark.parametrize("where", ["_run", "app"])
@pytest.mark.parametrize("error", [None, ImportError("initialization failed"), OSError("gone")])
def test_a_signal_beside_the_command_or_as_another_error_is_no_traceback(
    run, monkeypatch, where, error
):
    def stopped(*given, **options):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        except KeyboardInterrupt:
            if error is None:
                raise
            raise error from None

    monkeypatch.setattr(cli_main, where, stopped)
    status, _, err = run("info", "x.onnx")
    assert status == 143
    assert err == "interrupted; files written so far are complete\n"
