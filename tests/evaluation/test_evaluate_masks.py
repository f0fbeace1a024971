"""`evaluate` where masks cannot be used: it says which figures are missing, and why."""

from __future__ import annotations

import json
import shutil

import cv2
import pytest
from evaluation_helpers import FAST, Cli


def evaluate(cli: Cli, data, out):
    return cli("evaluate", "--data", f"mvtec:{data}", "--detector", "padim", *FAST, "--out", out)


def figures(out):
    return json.loads((out / "metrics.json").read_text())["runs"][0]


@pytest.mark.parametrize("what", ["inverted", "none", "upper case"])
def test_pixel_figures_are_there_or_their_absence_is_explained(
    what, own_parts, tmp_path, cli: Cli, capsys
):
    truth = own_parts / "weave/ground_truth"
    masks = sorted(truth.rglob("*.png"))
    if what == "none":
        shutil.rmtree(truth)
    for path in masks:
        if what == "inverted":
            cv2.imwrite(str(path), 255 - cv2.imread(str(path), 0))
        elif what == "upper case":
            path.rename(path.with_name(path.name.replace("_mask", "_GT")))
    status = evaluate(cli, own_parts, tmp_path / "out")
    said = capsys.readouterr().err
    run = figures(tmp_path / "out")
    if what == "upper case":
        assert status == 0
        assert run["metrics"]["pixel_auroc"] > 0.5
        assert "no pixel figures" not in said
        return
    assert run["metrics"]["pixel_auroc"] is None
    assert run["metrics"]["image_auroc"] is not None
    reason = run["reasons"]["pixel_auroc"]
    assert f"no pixel figures for mvtec:{own_parts} weave: {reason}" in said
    if what == "none":
        assert status == 0
        assert reason == "no test image has a mask"
    else:
        assert status == 3
        assert reason.startswith(f"{len(masks)} of {len(masks)} masks look inverted: that of ")
        assert len(run["unusable_masks"]) == len(masks)


def test_a_test_image_of_several_pages_is_an_error_of_that_image(own_parts, tmp_path, cli, capsys):
    home = own_parts / "weave/test/good"
    frame = cv2.imread(str(sorted(home.iterdir())[0]))
    cv2.imwritemulti(str(home / "stack.tif"), [frame, frame])
    assert evaluate(cli, own_parts, tmp_path / "out") == 3
    assert "stack.tif: holds 2 pictures, expected one" in capsys.readouterr().err
    assert list(figures(tmp_path / "out")["skipped_test_images"]) == ["weave/test/good/stack.tif"]
