"""`anomalib-lite update` from end to end."""

import runpy
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from anomalib_lite import Detector
from anomalib_lite.data.parts import render
from anomalib_lite.edge.errors import AnomalibLiteError


def write(folder, frames, first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames, start=first):
        cv2.imwrite(str(folder / f"{index:03d}.png"), frame[:, :, ::-1])
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Four more good parts."""
    frames = [render("flange", seed=0, index=index, size=96).image for index in range(20, 24)]
    return write(tmp_path_factory.mktemp("fresh") / "good", frames)


@pytest.fixture
def part(padim_files, tmp_path):
    """A detector of twelve parts that a test may change."""
    return shutil.copy(padim_files[0], tmp_path / "part.safetensors")


@pytest.fixture
def worse(good_frames, tmp_path):
    """A detector whose promise is lost when three images are forgotten, and those images."""
    detector = Detector("mvg", image_size=64, max_false_reject=0.08).fit(good_frames)
    saved = detector.save(tmp_path / "part.safetensors")
    return saved, write(tmp_path / "old", good_frames[:3])


def test_an_update_in_place_keeps_the_previous_file(run, part, fresh, good_frames):
    before = part.read_bytes()
    status, out, _ = run("update", part, "--add", fresh)
    assert status == 0
    assert (part.parent / "part.previous.safetensors").read_bytes() == before
    frames = [cv2.imread(str(path))[:, :, ::-1].copy() for path in sorted(fresh.iterdir())]
    grown = Detector.load(part)
    whole = Detector("padim", backbone="filters", image_size=64, num_features=16).fit(
        [*good_frames, *frames]
    )
    frame = render("flange", seed=0, index=40, size=96).image
    assert grown.predict(frame).score == pytest.approx(whole.predict(frame).score, rel=1e-4)
    assert grown.data.fingerprint == whole.data.fingerprint
    assert sorted(path.name for path in part.parent.iterdir()) == [
        "part.previous.safetensors",
        "part.safetensors",
    ]
    assert "part.previous.safetensors" in out


def test_the_table_shows_before_and_after(run, part, fresh):
    _, out, _ = run("update", part, "--add", fresh)
    rows = {
        cells[0].strip(): [cell.strip() for cell in cells[1:]]
        for cells in (line.strip("│┃ ").split("│") for line in out.splitlines())
        if len(cells) == 3
    }
    assert rows["good images"] == ["12", "16"]
    assert rows["false rejects on average"] == ["7.7 %", "5.9 %"]
    assert rows["at most, 95 % confidence"] == ["22 %", "17 %"]
    after = Detector.load(part).calibration.threshold
    assert rows["threshold"][1] == f"{after:.4g}"
    assert "calibration images in both (12): rejected" in rows
    assert "new images (4): rejected" in rows


def test_with_out_the_model_stays_as_it_is(run, part, fresh, tmp_path):
    before = part.read_bytes()
    other = tmp_path / "new" / "other.safetensors"
    status, _, _ = run("update", part, "--add", fresh, "--out", other)
    assert status == 0
    assert part.read_bytes() == before
    assert not (tmp_path / "part.previous.safetensors").exists()
    assert Detector.load(other).data.images == 16


def test_out_that_names_the_model_itself_is_in_place(run, part, fresh, tmp_path):
    before = part.read_bytes()
    same = tmp_path / "." / "sub" / ".." / part.name
    (tmp_path / "sub").mkdir()
    assert run("update", part, "--add", fresh, "--out", same)[0] == 0
    assert (tmp_path / "part.previous.safetensors").read_bytes() == before


def test_the_same_inputs_give_the_same_bytes(run, part, fresh, tmp_path):
    one, other = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    for out in (one, other):
        run("update", part, "--add", fresh, "--out", out)
    assert one.read_bytes() == other.read_bytes()


def test_forgetting_what_was_added_returns_to_before(run, part, fresh):
    before = Detector.load(part)
    assert run("update", part, "--add", fresh)[0] == 0
    assert run("update", part, "--forget", fresh)[0] == 0
    after = Detector.load(part)
    assert after.data.records == before.data.records
    assert after.calibration.scores == before.calibration.scores


def test_worse_false_rejects_are_refused_and_nothing_is_written(run, worse, tmp_path):
    part, old = worse
    before = part.read_bytes()
    status, out, _ = run("update", part, "--forget", old)
    assert status == 1
    assert "worse: the promise is lost" in out
    assert "was not written; --force" in out
    assert part.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "part.safetensors"]


def test_force_writes_what_is_worse_and_says_so(run, worse):
    part, old = worse
    before = part.read_bytes()
    status, out, _ = run("update", part, "--forget", old, "--force")
    assert status == 0
    assert "worse: the promise is lost" in out
    assert Detector.load(part).data.images == 9
    assert (part.parent / "part.previous.safetensors").read_bytes() == before


def test_unreadable_images_are_listed_and_give_status_three_after_writing(
    run, part, fresh, tmp_path
):
    folder = shutil.copytree(fresh, tmp_path / "mixed")
    (folder / "[red]x.png").write_bytes(b"no picture")
    status, out, _ = run("update", part, "--add", folder)
    assert status == 3
    assert "1 image(s) could not be used:" in out
    assert "[red]x.png: not a readable image" in out
    updated = Detector.load(part)
    assert updated.data.images == 16
    assert list(updated.data.skipped) == [str(folder / "[red]x.png")]


def test_images_known_already_are_listed_and_not_added_again(run, part, fresh, good_folder):
    folder = part.parent / "both"
    shutil.copytree(fresh, folder)
    shutil.copy(good_folder / "002.png", folder / "again.png")
    status, out, _ = run("update", part, "--add", folder)
    assert status == 0
    assert "1 image(s) known already" in out
    assert "again.png" in out
    assert Detector.load(part).data.images == 16


def test_a_threshold_that_rises_much_is_pointed_out(run, part, fresh, tmp_path):
    bright = [
        np.clip(cv2.imread(str(path))[:, :, ::-1] * 1.6, 0, 255).astype(np.uint8)
        for path in sorted(fresh.iterdir())
    ]
    status, out, _ = run("update", part, "--add", write(tmp_path / "bright", bright), "--force")
    assert status == 0
    assert "the threshold rose by" in out
    assert "try it on parts known to be defective" in out


def test_a_failed_write_leaves_the_model_whole(run, part, fresh, monkeypatch):
    def full(self, path):
        raise AnomalibLiteError("disk full")

    before = part.read_bytes()
    monkeypatch.setattr(Detector, "save", full)
    assert run("update", part, "--add", fresh)[0] == 2
    assert part.read_bytes() == before


MISTAKES = {
    "nothing to do": (["{part}"], "give --add SOURCE, or --forget SOURCE"),
    "edge file": (["{tmp}/part.onnx", "--add", "{fresh}"], "an edge file cannot learn"),
    "suffix": (["{part}", "--add", "{fresh}", "--out", "{tmp}/x.pt"], "must end in .safetensors"),
    "no folder": (["{part}", "--add", "{tmp}/none"], "check the path"),
    "no model": (["{tmp}/none.safetensors", "--add", "{fresh}"], "no such file"),
    "stranger": (["{part}", "--forget", "{fresh}"], "is not among those that were fitted"),
    "camera": (["{part}", "--add", "camera:0"], "cannot be read twice"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_one_line_and_write_nothing(run, mistake, part, fresh, tmp_path):
    arguments, message = MISTAKES[mistake]
    before = part.read_bytes()
    places = {"part": part, "tmp": tmp_path, "fresh": fresh}
    status, _, err = run("update", *(argument.format(**places) for argument in arguments))
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert part.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["part.safetensors"]


def test_help_needs_no_torch():
    program = (
        "import sys; sys.argv = ['anomalib-lite', 'update', '--help']\n"
        "from anomalib_lite.cli.main import run\n"
        "try:\n    run()\nexcept SystemExit:\n    pass\n"
        "heavy = ('torch', 'scipy', 'onnxruntime')\n"
        "print('LOADED', *[name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1].split() == ["LOADED"]
    assert "--forget" in done.stdout


def case_c30(shared_cases, folder):
    script = shutil.copy(shared_cases / "C30-update-lifts-threshold" / "make.py", folder)
    runpy.run_path(str(script))
    return folder / "in"


def test_case_c30_defects_called_good_are_refused_and_named(run, shared_cases, tmp_path):
    inside, base = case_c30(shared_cases, tmp_path), tmp_path / "base.safetensors"
    status, _, _ = run("fit", inside / "good", "--out", base, "--image-size", 128)
    assert status == 0
    before = base.read_bytes()
    status, out, _ = run("update", base, "--add", inside / "new")
    assert status == 1
    assert base.read_bytes() == before
    assert "the model rejects 4 of the 4 new images" in out
    assert "the threshold moves from" in out
    assert all(f"{number}.png" in out for number in range(200, 204))
    assert base.with_suffix(".update.html").read_text().count("<img") >= 4
    assert run("update", base, "--add", inside / "new", "--force")[0] == 0


def test_parts_with_a_spot_called_good_are_refused(run, part, good_frames, tmp_path):
    spotted = [frame.copy() for frame in good_frames[:3]]
    for frame in spotted:
        frame[30:60, 30:60] = 255
    status, out, _ = run("update", part, "--add", write(tmp_path / "new", spotted))
    assert status == 1
    assert "the model rejects 3 of the 3 new images" in out
