"""Nothing is sent and nothing is queued: no socket, no look-up, no file of another package."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parents[1] / "fixtures"
EDGE = FIXTURES / "gda.onnx"

LISTENER = """
import json, sys
heard = []
WATCHED = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
           "socket.sendmsg", "urllib.Request", "http.client.connect")
sys.addaudithook(lambda event, args: heard.append(event) if event in WATCHED else None)
"""
TELL = """
import time
time.sleep({wait})
print("HEARD", json.dumps(heard))
"""
OPEN = """
from anomalib_lite import EdgeModel
import numpy as np
model = EdgeModel({path!r}, engine={engine!r}, threads=1)
model.predict(np.zeros((96, 96, 3), np.uint8))
"""
HOST_IMPORTS_TOO = """
import anomalib_lite
import onnxruntime
model = anomalib_lite.EdgeModel({path!r})
"""
COMMAND = """
sys.argv = ["anomalib-lite", *{arguments!r}]
from anomalib_lite.cli.main import run
try:
    run()
except SystemExit as stop:
    assert not stop.code, stop.code
"""
TIMM = """
from anomalib_lite.backbones.timm_models import import_timm
import_timm().create_model("resnet18", pretrained=False)
"""
INET = re.compile(r"socket\(AF_INET|connect\(.*AF_INET|sendto\(")
WAYS = {
    "onnxruntime": OPEN.format(path=str(EDGE), engine="onnxruntime"),
    "imported by the program as well": HOST_IMPORTS_TOO.format(path=str(EDGE)),
    "check": COMMAND.format(arguments=["check", str(EDGE)]),
    "timm": TIMM,
}
if find_spec("openvino"):
    WAYS["openvino"] = OPEN.format(path=str(EDGE), engine="openvino")
    WAYS["bench"] = COMMAND.format(
        arguments=["bench", str(EDGE), "--engine", "openvino", "--frames", "5"]
    )


def watched(program, home, *, wait=0.5, **environment):
    """Run a program with a home of its own; gives its events, the files it left, its calls."""
    home.mkdir()
    given = {key: value for key, value in os.environ.items() if key not in ("CI", *QUIET)}
    given |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(home)}
    calls = home.parent / f"{home.name}.calls"
    tracer = ["strace", "-f", "-qq", "-e", "trace=network", "-o", str(calls)] if STRACE else []
    done = subprocess.run(
        [*tracer, sys.executable, "-c", LISTENER + program + TELL.format(wait=wait)],
        env=given | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (heard,) = [json.loads(x[6:]) for x in done.stdout.splitlines() if x.startswith("HEARD ")]
    files = [path.name for path in home.rglob("*") if path.is_file()]
    traced = calls.read_text().splitlines() if calls.exists() else []
    return heard, files, [line for line in traced if INET.search(line)]


def _strace():
    """Whether programs can be traced here; containers often forbid it."""
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True)
    return tried.returncode == 0


STRACE = _strace()
QUIET = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "NO_ALBUMENTATIONS_UPDATE")


@pytest.mark.parametrize("way", WAYS)
def test_no_way_in_sends_or_queues_anything(way, tmp_path):
    heard, files, calls = watched(WAYS[way], tmp_path / "home")
    assert heard == []
    assert files == []
    assert calls == []


def test_the_watch_notices_a_package_that_does_report(tmp_path):
    """The same watch on ONNX Runtime as it comes; also that the switch is the user's to set."""
    program = "import anomalib_lite, onnxruntime\nonnxruntime.InferenceSession({!r})"
    heard, files, calls = watched(
        program.format(str(EDGE)), tmp_path / "home", ORT_DISABLE_TELEMETRY="0"
    )
    if not files and not calls:
        pytest.skip("this build of ONNX Runtime does not report")
    assert "onnxruntime.db" in files or calls
    assert heard == []


@pytest.mark.skipif(not find_spec("openvino_telemetry"), reason="the reporter is not installed")
def test_the_watch_notices_openvino_as_it_comes(tmp_path):
    heard, files, _ = watched("import openvino", tmp_path / "home")
    assert heard or files


@pytest.mark.skipif(not find_spec("openvino_telemetry"), reason="the reporter is not installed")
def test_only_our_import_of_openvino_misses_its_reporter(tmp_path):
    """The program's own use of the reporter is not ours to forbid."""
    program = WAYS["openvino"] + (
        "assert 'openvino_telemetry' not in sys.modules\nimport openvino_telemetry\n"
    )
    assert watched(program, tmp_path / "home")[1] == []


@pytest.mark.parametrize("name", QUIET)
def test_a_switch_that_is_set_is_left_alone(name):
    program = f"import os, anomalib_lite; print(os.environ[{name!r}])"
    for given, expected in (("0", "0"), (None, "1")):
        environment = {k: v for k, v in os.environ.items() if k != name}
        environment |= {} if given is None else {name: given}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True
        )
        assert done.stdout.strip() == expected
