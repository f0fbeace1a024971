"""What an import brings along, and an edge box that has nothing but the edge packages."""

import json
import subprocess
import sys

import pytest

HEAVY = (*("torch", "timm", "sklearn", "scipy", "onnx", "onnxruntime"), "pandas", "matplotlib")
TRAINING = ("torch", "timm", "sklearn", "scipy", "onnx", "safetensors", "pandas", "matplotlib")
BLOCKED = (*TRAINING, "torchvision", "albumentations", "skimage", "PIL", "huggingface_hub")

BLOCKER = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)
sys.meta_path.insert(0, Blocker())
"""
HELP = """
import sys
sys.argv = ["anomalib-lite", *{arguments!r}]
from anomalib_lite.cli.main import run
try:
    run()
except SystemExit:
    pass
"""


def python(program, *arguments, check=True):
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=check,
        timeout=120,
    )


def loaded_after(program, names):
    """Which of `names` are in `sys.modules` after a program."""
    report = f"\nimport sys\nprint('LOADED', *[n for n in {names!r} if n in sys.modules])"
    last = python(program + report).stdout.splitlines()[-1]
    return last.split()[1:]


@pytest.mark.parametrize(
    ("program", "forbidden"),
    [
        ("import anomalib_lite", (*HEAVY, "cv2", "numpy", "rich", "typer")),
        ("import anomalib_lite; dir(anomalib_lite); anomalib_lite.__version__", (*HEAVY, "cv2")),
        ("import anomalib_lite.edge", TRAINING),
        ("from anomalib_lite import EdgeModel, InputSpec, Prediction", TRAINING),
        (HELP.format(arguments=["--help"]), HEAVY),
        (HELP.format(arguments=["--version"]), HEAVY),
        (HELP.format(arguments=["fit", "--help"]), HEAVY),
        (HELP.format(arguments=["score", "--help"]), HEAVY),
        ("from anomalib_lite import Detector", ("timm", "sklearn", "onnx", "matplotlib")),
    ],
    ids=["package", "dir", "edge", "edge names", "help", "version", "fit", "score", "detector"],
)
def test_an_import_brings_nothing_it_does_not_need(program, forbidden):
    assert loaded_after(program, forbidden) == []


def test_unknown_attributes_are_attribute_errors():
    import anomalib_lite

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = anomalib_lite.nothing
    assert set(anomalib_lite.__all__) <= set(dir(anomalib_lite))


USE = """
from anomalib_lite import EdgeModel
import json, sys
model = EdgeModel(sys.argv[1])
assert all(result.passed for result in model.check())
print(json.dumps(model.predict(sys.argv[2]).to_dict()))
"""
CLI = """
from anomalib_lite.cli.main import run
run()
"""


def test_the_edge_model_works_with_the_training_packages_blocked(padim, padim_files, good_folder):
    frame = good_folder / "000.png"
    found = json.loads(python(BLOCKER + USE, padim_files[1], frame).stdout)
    assert found["score"] == pytest.approx(padim.predict(frame).score, rel=1e-4)


@pytest.mark.parametrize("command", ["check", "info", "bench", "score"])
def test_edge_commands_work_with_the_training_packages_blocked(
    command, padim_files, good_folder, tmp_path
):
    extra = {
        "score": [good_folder, "--out", tmp_path, "--heatmaps"],
        "bench": ["--frames", 5],
    }.get(command, [])
    done = python(BLOCKER + CLI, command, padim_files[1], *extra)
    assert done.returncode == 0
    if command == "score":
        assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 12
        assert len(list((tmp_path / "heatmaps").iterdir())) == 12


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["score", "{detector}", "{good}", "--out", "{tmp}"], "pip install 'anomalib-lite[train]'"),
        (["bench", "{detector}"], "pip install 'anomalib-lite[train]'"),
        (["fit", "{good}", "--out", "{tmp}/x.safetensors"], "anomalib-lite[train]"),
        (["export", "{detector}", "{tmp}/x.onnx"], "anomalib-lite[train]"),
    ],
    ids=["score", "bench", "fit", "export"],
)
def test_what_needs_torch_says_so_in_one_line(
    arguments, advice, padim_files, good_folder, tmp_path
):
    places = {"detector": padim_files[0], "good": good_folder, "tmp": tmp_path}
    done = python(
        BLOCKER + CLI, *(argument.format(**places) for argument in arguments), check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert advice in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_info_reads_a_detector_without_torch(padim_files):
    assert "padim" in python(BLOCKER + CLI, "info", padim_files[0]).stdout


NO_DISPLAY = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file", name="cv2")
sys.meta_path.insert(0, Finder())
"""


def test_a_box_without_display_libraries_is_told_what_to_install(padim_files):
    """OpenCV built with windows does not load there; the version and the help need none of it."""
    assert python(NO_DISPLAY + CLI, "--version").stdout.startswith("anomalib-lite ")
    assert "fit" in python(NO_DISPLAY + CLI, "--help").stdout
    done = python(NO_DISPLAY + CLI, "check", padim_files[1], check=False)
    assert done.returncode == 2
    assert "opencv-python-headless" in done.stderr
    assert "libGL.so.1" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
