"""`fit --product` and `--products`, `score --product`, from end to end."""

import json

import cv2
import pytest

from anomalib_lite import Detector
from anomalib_lite.data.parts import render

FIT = [
    "--backbone",
    "filters",
    "--detector",
    "gda",
    "--image-size",
    "64",
    "--max-false-reject",
    "0.1",
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A folder with a subfolder of good images for each of two products."""
    root = tmp_path_factory.mktemp("parts")
    for kind in ("flange", "weave"):
        (root / kind).mkdir()
        for index in range(12):
            image = render(kind, seed=2, index=index, size=96).image
            cv2.imwrite(str(root / kind / f"{index:02d}.png"), image[:, :, ::-1])
    return root


def scored(folder):
    lines = (folder / "results.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_subfolders_and_named_folders_give_the_same_detector(run, parts, tmp_path):
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    status, out, _ = run("fit", parts, "--products", "--out", one, *FIT)
    assert status == 0
    assert "gda on filters, 24 good images" in out
    assert "flange: threshold" in out
    assert "weave: threshold" in out
    named = [f"--product={kind}={parts / kind}" for kind in ("flange", "weave")]
    assert run("fit", *named, "--out", other, *FIT)[0] == 0
    first, second = Detector.load(one), Detector.load(other)
    assert first.scorer.groups().names == second.scorer.groups().names == ("flange", "weave")
    assert first.calibration == second.calibration
    assert first.data.records == second.data.records


def test_a_stated_product_is_judged_alone_by_both_kinds_of_file(run, parts, tmp_path):
    detector, edge = tmp_path / "part.safetensors", tmp_path / "part.onnx"
    run("fit", parts, "--products", "--out", detector, *FIT)
    assert run("export", detector, edge)[0] == 0
    assert run("check", edge)[0] == 0
    verdicts = {}
    for path in (detector, edge):
        for product in ("flange", "weave"):
            out = tmp_path / f"{product}{path.suffix}"
            arguments = ["--out", out, "--product", product, "--report"]
            assert run("score", path, parts / "weave", *arguments)[0] == 0
            verdicts[path.suffix, product] = [item["is_anomalous"] for item in scored(out)]
            assert (out / "report.html").exists()
    for suffix in (".safetensors", ".onnx"):
        assert all(verdicts[suffix, "flange"])
        assert not all(verdicts[suffix, "weave"])
    assert verdicts[".safetensors", "weave"] == verdicts[".onnx", "weave"]


def test_wrong_uses_are_one_line(run, parts, mvg_files, tmp_path):
    out = tmp_path / "x.safetensors"
    cases = [
        (["fit", "--out", out], "name the good images"),
        (["fit", parts, "--product", f"a={parts}", "--out", out], "not both"),
        (["fit", "--product", "a", "--out", out, *FIT], "write NAME=FOLDER"),
        (["fit", "--product", "a=b", "--product", "a=c", "--out", out, *FIT], "given twice"),
        (["fit", "--product", "a=b", "--products", "--out", out, *FIT], "leave --product out"),
        (["fit", parts / "flange", "--products", "--out", out, *FIT], "has no subfolders"),
        (["fit", tmp_path / "none", "--products", "--out", out, *FIT], "no such folder"),
        (["fit", parts, "--products", "--out", out], "patchcore knows one product only"),
        (
            ["score", mvg_files[1], parts / "weave", "--out", tmp_path / "o", "--product", "a"],
            "fitted on a single one",
        ),
    ]
    for arguments, words in cases:
        status, _, err = run(*arguments)
        assert status == 2
        assert "Traceback" not in err
        assert words in err
    assert not out.exists()
