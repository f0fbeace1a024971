"""`--device`: one option of every command that fits; what is not there is one line."""

import pytest
import torch
from typer.testing import CliRunner

from anomalib_lite.cli.main import app


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "{good}", "--out", "{out}.safetensors"],
        ["score-pool", "{good}", "--out", "{out}"],
        ["evaluate", "--data", "folder:{good}", "--out", "{out}"],
    ],
    ids=lambda words: words[0],
)
def test_a_device_that_is_not_there_is_told_before_anything_is_written(
    words, good_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    out = tmp_path / "result"
    given = [word.format(good=good_folder, out=out) for word in words]
    found = CliRunner().invoke(app, [*given, "--device", "cuda:1"])
    told = str(found.exception) + found.output
    assert "device cuda:1: torch sees no CUDA device here; choose cpu" in told
    assert found.exit_code != 0
    assert not list(tmp_path.iterdir())
