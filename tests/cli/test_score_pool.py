"""Pools through the command line: scoring, resuming, measuring with labels, auditing."""

import hashlib
import json
import shutil

import cv2
import numpy as np
import pytest

from anomalib_lite.data.parts import render, write_dataset
from anomalib_lite.edge import SettingsError
from anomalib_lite.edge import files as edge_files
from anomalib_lite.scorers.mutual import pool_scores as mutual_pool
from anomalib_lite.transductive import pool as pool_module
from anomalib_lite.transductive.pool import PROTOCOL, Pool

SMALL = ["--backbone", "filters", "--image-size", "64", "--set", "degrees=[1]"]


@pytest.fixture(scope="module")
def mixed_folder(tmp_path_factory):
    """Fourteen good parts, one scratched, and a file that is no picture."""
    folder = tmp_path_factory.mktemp("pool") / "frames"
    folder.mkdir()
    for index in range(14):
        frame = render("flange", seed=0, index=index, size=96).image
        cv2.imwrite(str(folder / f"{index:03d}.png"), frame[:, :, ::-1])
    frame = render("flange", seed=0, index=0, split="test", defect="scratch", size=96).image
    frame = np.where(np.indices((96, 96)).sum(0)[:, :, None] % 7 < 3, 0, frame).astype(np.uint8)
    cv2.imwrite(str(folder / "odd.png"), frame[:, :, ::-1])
    (folder / "broken.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    return write_dataset(folder, "flange", seed=0, train=4, test_good=6, test_per_defect=2, size=96)


def lines_of(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_a_folder_judges_itself_and_the_odd_frame_comes_first(run, mixed_folder, tmp_path):
    out = tmp_path / "out"
    status, text, err = run("score-pool", mixed_folder, "--out", out, "--heatmaps", *SMALL)
    assert status == 3
    assert "broken.png" in text
    assert PROTOCOL in text
    assert "MB of memory" in err
    assert "of comparing" in err
    lines = lines_of(out)
    assert [line["frame"].split("/")[-1] for line in lines[:2]] == ["000.png", "001.png"]
    assert all(line["protocol"] == PROTOCOL for line in lines)
    scores = {line["frame"].split("/")[-1]: line["score"] for line in lines if "score" in line}
    assert max(scores, key=scores.get) == "odd.png"
    assert len(scores) == 15
    assert [line["frame"].split("/")[-1] for line in lines if "error" in line] == ["broken.png"]
    listing = json.loads((out / "pool.json").read_text())
    assert listing["protocol"] == PROTOCOL
    assert listing["entries"][0]["name"].endswith("odd.png")
    assert listing["pairs_multiplied"] == 15 * 14 // 2
    page = (out / "report.html").read_text()
    assert PROTOCOL in page
    assert "odd.png" in page
    assert page.count("data:image/jpeg") >= 15
    assert len(list((out / "heatmaps").iterdir())) == 15
    assert not (out / "metrics.json").exists()
    assert not (out / "pool-work").exists()


@pytest.mark.parametrize("rscin", ["[]", "[1,2,3]"])
def test_an_odd_frame_is_flagged_and_its_p_value_is_its_rank(run, mixed_folder, tmp_path, rscin):
    run("score-pool", mixed_folder, "--out", tmp_path, *SMALL, "--set", f"rscin={rscin}")
    judged = {line["frame"].split("/")[-1]: line for line in lines_of(tmp_path) if "score" in line}
    assert judged["odd.png"]["is_anomalous"]
    assert judged["odd.png"]["p_value"] == pytest.approx(2 / 16)
    assert sum(line["is_anomalous"] for line in judged.values()) <= 2


def test_labels_of_a_data_set_only_measure(run, parts, tmp_path):
    spec = f"mvtec:{parts.parent}:{parts.name}"
    status, text, err = run("score-pool", spec, "--out", tmp_path / "spec", *SMALL)
    assert status == 0, err
    assert "image_auroc" in text
    metrics = json.loads((tmp_path / "spec" / "metrics.json").read_text())
    assert metrics["protocol"] == PROTOCOL
    assert 0 <= metrics["metrics"]["image_auroc"] <= 1
    assert 0 <= metrics["metrics"]["aupro"] <= 1
    assert json.loads((tmp_path / "spec" / "pool.json").read_text())["source"] == str(parts)
    run("score-pool", parts / "test", "--out", tmp_path / "plain", *SMALL)
    plain = {line["frame"]: line["score"] for line in lines_of(tmp_path / "plain")}
    labelled = {line["frame"]: line["score"] for line in lines_of(tmp_path / "spec")}
    assert plain == pytest.approx(labelled, rel=1e-5)


def test_an_interrupted_pool_is_continued_by_resume(run, mixed_folder, tmp_path, monkeypatch):
    run("score-pool", mixed_folder, "--out", tmp_path / "whole", *SMALL)
    with monkeypatch.context() as patched:
        patched.setattr(mutual_pool, "_lowest", _interrupt)
        status, _, _ = run("score-pool", mixed_folder, "--out", tmp_path / "cut", *SMALL)
    assert status == 130
    assert (tmp_path / "cut" / "pool-work").exists()
    monkeypatch.setattr(pool_module.ImageStream, "__iter__", _interrupt)
    folder = tmp_path / "cut"
    status, _, err = run("score-pool", mixed_folder, "--out", folder, "--resume", *SMALL)
    assert status == 3, err
    for name in ("results.jsonl", "pool.json"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def _interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("failing", ["results.jsonl", "report.html", "pool.json"])
def test_a_full_disk_while_writing_loses_nothing_computed(
    run, mixed_folder, tmp_path, monkeypatch, failing
):
    run("score-pool", mixed_folder, "--out", tmp_path / "whole", *SMALL)
    folder, replace = tmp_path / "cut", edge_files.os.replace

    def full(source, target):
        if target.name == failing:
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(edge_files.os, "replace", full)
        status, _, err = run("score-pool", mixed_folder, "--out", folder, *SMALL)
    assert status == 2
    assert f"cannot write {folder / failing}: No space left on device" in err
    assert "--resume writes them" in err
    assert "Traceback" not in err
    kept = {path.name for path in (folder / "pool-work").iterdir()}
    assert kept == {"embedding.f32", "source.json", "state.json", "totals.safetensors"}
    _resume_by_writing_only(run, mixed_folder, folder, monkeypatch)
    for name in ("results.jsonl", "report.html", "pool.json"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_crash_while_writing_loses_nothing_computed(run, mixed_folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Pool, "results", _interrupt)
        assert run("score-pool", mixed_folder, "--out", tmp_path, *SMALL)[0] == 130
    assert not (tmp_path / "results.jsonl").exists()
    _resume_by_writing_only(run, mixed_folder, tmp_path, monkeypatch)
    assert len(lines_of(tmp_path)) == 16


def _resume_by_writing_only(run, source, folder, monkeypatch):
    """Resume where neither the network nor a comparison may run again."""
    monkeypatch.setattr(pool_module.ImageStream, "__iter__", _interrupt)
    monkeypatch.setattr(mutual_pool, "_compare", _interrupt)
    status, _, err = run("score-pool", source, "--out", folder, "--resume", *SMALL)
    assert status == 3, err
    assert not (folder / "pool-work").exists()


def test_in_python_the_folder_goes_unless_it_is_to_be_kept(good_folder, tmp_path):
    pool = Pool("musc", backbone="filters", image_size=64, degrees=[1])
    first = pool.score(good_folder, folder=tmp_path / "work", keep=True)
    assert (tmp_path / "work" / "totals.safetensors").exists()
    again = pool.score(good_folder, folder=tmp_path / "work", resume=True)
    assert again.scores.image.tobytes() == first.scores.image.tobytes()
    assert not (tmp_path / "work").exists()


def test_a_pool_of_other_images_is_not_continued(good_folder, mixed_folder, tmp_path):
    pool = Pool("musc", image_size=64, degrees=[1])

    def stop(stage, done, total):
        if stage == "comparing images":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool.score(good_folder, folder=tmp_path, progress=stop)
    with pytest.raises(SettingsError, match="begun with other images"):
        pool.score(mixed_folder, folder=tmp_path, resume=True)


def test_an_audit_shows_suspects_beside_the_images_most_like_them(run, mixed_folder, tmp_path):
    status, text, _ = run("audit", mixed_folder, "--out", tmp_path, *SMALL)
    assert status == 3
    assert "odd.png" in text
    page = (tmp_path / "audit.html").read_text()
    assert page.index("odd.png") < page.index("most similar, no. 1")
    assert "Audit of a folder" in page
    assert PROTOCOL in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--detector", "padim"], "cannot judge a pool by itself"),
        (["--set", "interval=2"], "choose a share up to 1"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(run, mixed_folder, tmp_path, options, message):
    status, _, err = run("score-pool", mixed_folder, "--out", tmp_path, *options)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_data_set_of_several_categories_needs_a_name(run, parts, tmp_path):
    write_dataset(parts.parent, "weave", seed=0, train=2, test_good=2, test_per_defect=1, size=96)
    status, _, err = run("score-pool", f"mvtec:{parts.parent}", "--out", tmp_path)
    assert status == 2
    assert "name one category" in err


def test_a_pool_records_its_run_and_leaves_nothing_of_an_earlier_one(run, mixed_folder, tmp_path):
    out, first = tmp_path / "out", tmp_path / "first"
    shutil.copytree(mixed_folder, first)
    run("score-pool", first, "--out", out, "--heatmaps", *SMALL)
    record = json.loads((out / "run.json").read_text())
    assert record["format"] == "anomalib_lite.pool_run"
    assert record["exit_status"] == 3
    assert record["counts"]["scored"] == 15
    assert record["options"]["heatmaps"] is True
    lines = (out / "results.jsonl").read_bytes()
    assert record["results_sha256"] == hashlib.sha256(lines).hexdigest()
    assert set(record["files"]) == {path.name for path in out.iterdir()}
    odd = next(first.rglob("odd.png"))
    odd.rename(odd.with_name("other.png"))
    run("score-pool", first, "--out", out, "--heatmaps", *SMALL)
    drawn = {path.name for path in (out / "heatmaps").iterdir()}
    assert len(drawn) == 15
    assert any("other.png" in name for name in drawn)
    assert not any("odd.png" in name for name in drawn)
    run("score-pool", first, "--out", out, *SMALL)
    assert not (out / "heatmaps").exists()
    record = json.loads((out / "run.json").read_text())
    assert set(record["files"]) == {path.name for path in out.iterdir()}


def test_results_of_score_and_of_a_pool_take_each_others_place(
    run, padim_files, mixed_folder, tmp_path
):
    run("score", padim_files[1], mixed_folder, "--out", tmp_path, "--heatmaps", "--report")
    run("score-pool", mixed_folder, "--out", tmp_path, *SMALL)
    assert not (tmp_path / "heatmaps").exists()
    assert "pool" in json.loads((tmp_path / "run.json").read_text())["format"]
    run("score", padim_files[1], mixed_folder, "--out", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"results.jsonl", "run.json"}
