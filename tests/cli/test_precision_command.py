"""Precision and engines on the command line: what is printed, and one line for what cannot be."""

import json

import pytest

from anomalib_lite.edge.running.cache import FOLDER_VARIABLE

LOOSE = ["--max-auroc-loss", "1", "--max-aupro-loss", "1", "--max-more-misses", "1"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))


def test_export_prints_what_a_lower_precision_costs_and_promises(
    run, padim_files, good_folder, tmp_path
):
    code, out, err = run(
        *("export", padim_files[0], tmp_path / "half.onnx"),
        *("--precision", "fp16", "--frames", good_folder, *LOOSE),
    )
    assert (code, "error" in err) == (0, False)
    for words in ("AUROC, 8 simulated defects", "AUPRO on their masks", "of them missed"):
        assert words in out
    assert "fp16: maps drift by" in out
    assert "in float, as too sensitive:" in out
    assert "held-out scores, moved by what this graph changes" in out
    assert "empirical, not guaranteed" in out
    code, out, _ = run("info", tmp_path / "half.onnx", "--json")
    assert json.loads(out)["about"]["precision"]["name"] == "fp16"
    assert run("check", tmp_path / "half.onnx")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "{detector}", "{out}", "--frames", "{good}"], "--frames is for a lower"),
        (["export", "{detector}", "{out}", "--precision", "int8"], "with --frames"),
        (["export", "{detector}", "{out}", "--precision", "int4"], "choose one of fp32, fp16"),
        (["check", "{edge}", "--engine-option", "device_id"], "write NAME=VALUE"),
        (["check", "{edge}", "--engine-option", "device_id=1"], "takes no options"),
        (["check", "{edge}", "--engine", "tensorrt"], "this ONNX Runtime has no Tensorrt"),
    ],
)
def test_what_cannot_be_done_is_one_line(run, padim_files, good_folder, tmp_path, arguments, said):
    named = {
        "detector": padim_files[0],
        "edge": padim_files[1],
        "good": good_folder,
        "out": tmp_path / "new.onnx",
    }
    code, _, err = run(*(text.format(**named) for text in arguments))
    assert code == 2
    assert said in " ".join(err.split())
    assert not (tmp_path / "new.onnx").exists()


def test_auto_says_what_it_chose_and_remembers_it(run, padim_files):
    first = run("check", padim_files[1], "--engine", "auto", "--threads", "1")
    again = run("check", padim_files[1], "--engine", "auto", "--threads", "1", "--no-spinning")
    once_more = run("check", padim_files[1], "--engine", "auto", "--threads", "1")
    assert [code for code, *_ in (first, again, once_more)] == [0, 0, 0]
    assert "engine auto: " in first[2]
    assert "measured now" in " ".join(first[2].split())
    assert "measured now" in " ".join(again[2].split())
    assert "measured earlier on this machine" in " ".join(once_more[2].split())
