"""Killed at any moment and resumed, an evaluation leaves the same files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from evaluation_helpers import FAST, Cli, tree

from anomalib_lite.edge import files


def words(parts: Path, out: Path, *more: str) -> list[str]:
    asked = ["evaluate", "--data", f"mvtec:{parts}", *FAST, "--detector", "mvg"]
    return [*asked, "--detector", "padim", "--out", str(out), *more]


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def test_a_kill_at_any_write_and_a_resume_give_the_same_files_byte_for_byte(
    parts, tmp_path, cli: Cli, monkeypatch
):
    whole = tmp_path / "whole"
    assert cli(*words(parts, whole)) == 0
    expected, replace = tree(whole), os.replace
    moment, finished = 0, False
    while not finished:
        out, count = tmp_path / f"killed{moment}", 0

        def replace_or_die(source, target, out=out, moment=moment):
            nonlocal count
            count += 1
            if count == moment + 1:
                raise Killed
            replace(source, target)

        monkeypatch.setattr(files.os, "replace", replace_or_die)
        with contextlib.suppress(Killed):
            finished = cli(*words(parts, out)) == 0
        monkeypatch.setattr(files.os, "replace", replace)
        assert cli(*words(parts, out, "--resume")) == 0
        assert tree(out) == expected, moment
        moment += 2
    assert moment > 10


def test_a_killed_process_leaves_whole_files_and_can_be_resumed(parts, tmp_path, cli: Cli):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert cli(*words(parts, whole, "--seeds", "3")) == 0
    program = [sys.executable, "-c", "from anomalib_lite.cli.main import run; run()"]
    process = subprocess.Popen(
        [*program, *words(parts, out, "--seeds", "3")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 30
    while not list(out.glob("runs/*.json")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for path in out.glob("runs/*.json"):
        json.loads(path.read_text())
    assert cli(*words(parts, out, "--seeds", "3", "--resume")) == 0
    assert tree(out) == tree(whole)


def test_a_resume_keeps_finished_runs_and_adds_seeds(parts, tmp_path, cli: Cli, capsys):
    out = tmp_path / "out"
    assert cli(*words(parts, out)) == 0
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*")}
    assert cli(*words(parts, out, "--seeds", "2", "--resume")) == 0
    assert capsys.readouterr().err.count("(kept)") == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
    summary = json.loads((out / "metrics.json").read_text())
    assert summary["complete"]
    assert len(summary["runs"]) == 4


@pytest.mark.parametrize("resume", [[], ["--resume"]], ids=["without", "with"])
def test_runs_of_other_settings_are_refused_and_the_setting_is_named(
    parts, tmp_path, cli: Cli, capsys, resume
):
    out = tmp_path / "out"
    assert cli(*words(parts, out)) == 0
    before = tree(out)
    capsys.readouterr()
    assert cli(*words(parts, out, "--max-false-reject", "0.05", *resume)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "max_false_reject: 0.01 there, 0.05 now" in error
    assert tree(out) == before


def test_another_limit_of_picture_sizes_is_another_evaluation(parts, tmp_path, cli: Cli, capsys):
    out, again = tmp_path / "out", tmp_path / "again"
    assert cli(*words(parts, out, "--max-megapixels", "100")) == 0
    assert "max_megapixels" not in next(out.glob("runs/*.json")).read_text()
    before = tree(out)
    assert cli(*words(parts, out, "--max-megapixels", "50", "--resume")) == 2
    assert "max_megapixels: null there, 50.0 now" in capsys.readouterr().err
    assert tree(out) == before
    assert cli(*words(parts, again, "--max-megapixels", "50")) == 0
    assert cli(*words(parts, again, "--max-megapixels", "50", "--resume")) == 0
    assert "--max-megapixels 50" in (again / "metrics.json").read_text()
    assert cli(*words(parts, again, "--resume")) == 2


def test_changed_data_is_refused(own_parts, tmp_path, cli: Cli, capsys):
    out = tmp_path / "out"
    assert cli(*words(own_parts, out)) == 0
    (own_parts / "weave/test/good/003.jpg").unlink()
    assert cli(*words(own_parts, out, "--resume")) == 2
    assert "data_fingerprint" in capsys.readouterr().err


def test_a_run_that_is_not_asked_for_is_refused(parts, tmp_path, cli: Cli, capsys):
    out = tmp_path / "out"
    assert cli(*words(parts, out)) == 0
    asked = ["evaluate", "--data", f"mvtec:{parts}", *FAST, "--detector", "mvg", "--resume"]
    assert cli(*asked, "--out", out) == 2
    assert "does not ask for" in capsys.readouterr().err


def test_a_damaged_record_is_named(parts, tmp_path, cli: Cli, capsys):
    out = tmp_path / "out"
    assert cli(*words(parts, out)) == 0
    path = next(out.glob("runs/*.json"))
    path.write_text(path.read_text()[:100])
    assert cli(*words(parts, out, "--resume")) == 2
    assert "delete it to run it again" in capsys.readouterr().err


def test_an_unfinished_summary_says_so(parts, tmp_path, cli: Cli, monkeypatch):
    from anomalib_lite.evaluation import session

    out, execute = tmp_path / "out", session.execute
    calls = []

    def die_at_the_second(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return execute(*arguments)

    monkeypatch.setattr(session, "execute", die_at_the_second)
    assert cli(*words(parts, out)) == 130
    summary = json.loads((out / "metrics.json").read_text())
    assert not summary["complete"]
    assert len(summary["missing"]) == 1
    assert "Not complete" in (out / "metrics.md").read_text()
