"""The page on the Python side: its blocks run, in order, as they stand."""

import re
from pathlib import Path

import cv2
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks():
    text = PAGE.read_text()
    for found in BLOCK.finditer(text):
        yield text[: found.start()].count("\n") + 1, found.group(1)


@pytest.fixture
def folders(good_frames, scratched, tmp_path, monkeypatch):
    for name, frames in (("good", good_frames), ("scratched", scratched)):
        (tmp_path / name).mkdir()
        for index, frame in enumerate(frames):
            cv2.imwrite(str(tmp_path / name / f"{index:03d}.png"), frame[:, :, ::-1])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_of_the_page_runs(folders, capsys):
    names = {"__name__": "page"}
    for line, block in blocks():
        exec(compile("\n" * line + block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    for said in re.findall(r"^ *# (Detector\(.*)$", PAGE.read_text(), re.MULTILINE):
        assert said in printed
    for said in re.findall(r"print\(error\)  # (.*)$", PAGE.read_text(), re.MULTILINE):
        assert said in printed
    written = {path.name for path in folders.iterdir()}
    assert {"part.onnx", "heat.png", "part.png", "part.jpg", "part.safetensors"} <= written


def test_the_page_has_blocks_for_each_topic():
    assert len(list(blocks())) >= 6
