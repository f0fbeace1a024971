"""The commands `datasets` and `evaluate`: tables, JSON, exit status and one-line errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from evaluation_helpers import FAST, Cli

from anomalib_lite.data.adapters import list_kinds


def test_datasets_lists_every_kind_with_licence_and_origin(cli: Cli, capsys):
    assert cli("datasets", "--json") == 0
    kinds = json.loads(capsys.readouterr().out)
    assert [kind["kind"] for kind in kinds] == [info.kind for info in list_kinds()]
    assert cli("datasets") == 0
    shown = capsys.readouterr().out
    for info in list_kinds():
        assert info.kind in shown
    assert "CC BY-NC-SA 4.0" in " ".join(shown.split())


def test_a_sound_folder_is_counted_and_gives_exit_status_0(parts, cli: Cli, capsys):
    assert cli("datasets", f"mvtec:{parts}:weave") == 0
    shown = capsys.readouterr().out
    assert "96x96" in shown
    assert "no problem found" in shown
    assert cli("datasets", f"mvtec:{parts}:weave", "--json") == 0
    assert json.loads(capsys.readouterr().out)["counts"]["weave"]["train"] == {"good": 10}


def test_a_leak_and_a_missing_mask_are_named_and_give_exit_status_1(own_parts, cli: Cli, capsys):
    home = own_parts / "weave"
    shutil.copy(home / "train/good/000.jpg", home / "test/good/copy.jpg")
    sorted((home / "ground_truth").rglob("*.png"))[0].unlink()
    assert cli("datasets", f"mvtec:{own_parts}") == 1
    shown = capsys.readouterr().out
    assert "more than one split" in shown
    assert "have no mask" in shown
    assert cli("datasets", f"mvtec:{own_parts}", "--json") == 1
    assert len(json.loads(capsys.readouterr().out)["leaks"]) == 1


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--detector", "nothing"], "unknown detector 'nothing'"),
        (["--detector", "mvg", "--detector", "mvg"], "given twice"),
        (["--seeds", "0"], "--seeds: input should be greater"),
        (["--max-false-reject", "1.5"], "between 0 and 1"),
        (["--image-size", "big"], "size 'big'"),
        (["--map-resolution", "half"], "choose one of frame, network"),
        (["--limit-train", "0"], "--limit-train: input should be greater"),
        (["--set", "nonsense=1"], "nonsense"),
        (["--set", "name=1"], "no detector has a setting"),
        (["--set", "mvg.variance=0.9"], "not evaluated here"),
        (
            ["--backbone", "filters", "--backbone", "resnet18", "--weights", "x"],
            "several backbones",
        ),
        (["--weights", "nowhere.safetensors"], "weights"),
        (["--set", "layers=a"], "write --layers instead"),
        (["--backbone", "filters", "--layers", "octave9"], "filters has no layer ['octave9']"),
        (["--limit-train", "2"], "weave patchcore pdn_edge seed 0: 2 "),
    ],
)
def test_a_mistake_ends_in_one_line_and_exit_status_2(
    parts, tmp_path, cli: Cli, capsys, extra, message
):
    asked = ["evaluate", "--data", f"mvtec:{parts}", *FAST, "--out", tmp_path / "out"]
    assert cli(*asked, *extra) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("mvtec:{parts}:wave", "did you mean 'weave'"),
        ("mvtec:{parts}/nowhere", "no such folder"),
        ("{parts}", "names no kind of data set"),
        ("folder:{parts}/weave/train", "has no test image"),
    ],
)
def test_a_wrong_data_set_ends_in_one_line(parts, tmp_path, cli: Cli, capsys, data, message):
    asked = ("evaluate", "--data", data.format(parts=parts), *FAST, "--out", tmp_path / "out")
    assert cli(*asked) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_the_same_category_from_two_specifications_is_refused(parts, tmp_path, cli: Cli, capsys):
    twice = ("--data", f"mvtec:{parts}", "--data", f"mvtec:{parts}:weave")
    assert cli("evaluate", *twice, *FAST, "--out", tmp_path / "out") == 2
    assert "named twice" in capsys.readouterr().err


def test_settings_reach_only_the_detector_that_they_name(parts, tmp_path, cli: Cli):
    out = tmp_path / "out"
    asked = ("--data", f"mvtec:{parts}", *FAST, "--detector", "mvg", "--detector", "padim")
    assert cli("evaluate", *asked, "--set", "padim.sigma=2", "--no-pixel", "--out", out) == 0
    mvg, padim = json.loads((out / "metrics.json").read_text())["provenance"]["detectors"]
    assert padim["settings"]["sigma"] == 2
    assert "sigma" not in mvg["settings"]


def test_the_command_line_starts_without_torch():
    code = "import sys, anomalib_lite.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_layers_of_all_detectors_and_of_one_are_read_and_recorded(parts, tmp_path, cli: Cli):
    out = tmp_path / "out"
    asked = ["evaluate", "--data", f"mvtec:{parts}:weave", "--out", out, "--seeds", "1"]
    asked += ["--image-size", "64", "--no-pixel", "--backbone", "filters"]
    asked += ["--detector", "mvg", "--detector", "padim", "--detector", "padim+mvg"]
    asked += ["--layers", "octave1,octave2", "--set", "mvg.layers=octave2, octave3"]
    assert cli(*asked, "--set", "padim+mvg.trust=equal") == 0
    runs = json.loads((out / "metrics.json").read_text())["runs"]
    read = {run["detector"]: run["settings"]["backbone"]["layers"] for run in runs}
    assert read == {
        "mvg": ["octave2", "octave3"],
        "padim": ["octave1", "octave2"],
        "padim+mvg": ["octave1", "octave2", "octave3"],
    }
    fused = next(run["settings"]["detector"] for run in runs if run["detector"] == "padim+mvg")
    assert fused["settings"]["padim.layers"] == ["octave1", "octave2"]
    assert fused["settings"]["mvg.layers"] == ["octave2", "octave3"]
