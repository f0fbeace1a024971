"""`deploy/`: the unit and the container files name what there is, and the unit is hardened."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "systemd" / "anomalib-lite-score.service"
CONTAINERS = sorted((ROOT / "deploy" / "container").glob("*.Dockerfile"))
FIXTURE = ROOT / "tests" / "fixtures" / "mvg.onnx"
INSTALLED = "/opt/anomalib-lite/bin/anomalib-lite"
LARGEST_EXPOSURE = 10  # tenths, of 100
PROGRAM = "import sys; from anomalib_lite.cli.main import run; run()"


def command_of(name, **variables):
    """A command of the unit, its variables filled in."""
    (line,) = re.findall(rf"^{name}=(.+)$", UNIT.read_text(), re.M)
    words = [re.sub(r"\$\{(\w+)\}", lambda found: variables[found[1]], w) for w in line.split()]
    assert words[0] == INSTALLED
    return [sys.executable, "-c", PROGRAM, *words[1:]]


def test_the_units_commands_run_and_go_on(tmp_path, good_folder):
    settings = (UNIT.parent / "score.env").read_text()
    assert re.findall(r"^(\w+)=/", settings, re.M) == ["MODEL", "SOURCE"]
    variables = {
        "MODEL": str(FIXTURE),
        "SOURCE": str(good_folder),
        "STATE_DIRECTORY": str(tmp_path),
    }
    for name in ("ExecStartPre", "ExecStart"):
        done = subprocess.run(command_of(name, **variables), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    lines = (tmp_path / "results" / "results.jsonl").read_text().splitlines()
    assert len(lines) == len(list(good_folder.iterdir()))
    assert (tmp_path / "results" / "report.html").is_file()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit_and_calls_it_safe(tmp_path):
    program = tmp_path / "anomalib-lite"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(INSTALLED, str(program)))
    for verb in (["verify"], ["security", "--offline=yes", f"--threshold={LARGEST_EXPOSURE}"]):
        done = subprocess.run(
            ["systemd-analyze", "--no-pager", *verb, unit],
            capture_output=True,
            text=True,
            env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
        )
        if "Unknown" in done.stderr or "unrecognized option" in done.stderr:
            pytest.skip(f"this systemd-analyze is too old: {done.stderr.splitlines()[0]}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert UNIT.name not in done.stderr


def test_the_unit_sends_nothing_and_writes_only_its_own_folder():
    found = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.M))
    wanted = {
        "DynamicUser": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateNetwork": "yes",
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "StateDirectory": "anomalib-lite",
        "SuccessExitStatus": "3 143",
    }
    assert {name: found.get(name) for name in wanted} == wanted


def instructions(path):
    """Instruction and words of each line of a container file, continued lines joined."""
    text = re.sub(r"\\\n", " ", path.read_text())
    return [line.split(None, 1) for line in text.splitlines() if line and line[0] not in "# "]


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.stem)
def test_a_container_file_copies_what_there_is_and_runs_as_no_root(path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert "*" in ignored
    last = {}
    for word, rest in instructions(path):
        last[word] = rest
        if word == "COPY" and "--from" not in rest:
            for source in shlex.split(rest)[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}" in ignored
        for extras in re.findall(r"\.\[([a-z,]+)\]", rest):
            assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert last["USER"] not in ("root", "0")
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert last["ENTRYPOINT"] == '["anomalib-lite"]'
    assert "anomalib-lite" in project["scripts"]


def test_the_slim_container_has_neither_torch_nor_a_compiler():
    (path,) = (path for path in CONTAINERS if path.stem == "edge")
    words = " ".join(rest for word, rest in instructions(path) if word != "FROM")
    assert not re.search(r"torch|\[train|gcc|build-essential", words)
    assert len([word for word, _ in instructions(path) if word == "FROM"]) == 2
