"""From the files of an evaluation to the report, and the commands that write both reports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_builders import Page
from typer.testing import CliRunner

from anomalib_lite.cli.main import app
from anomalib_lite.data.parts import write_dataset
from anomalib_lite.detector.detector import Detector
from anomalib_lite.edge.errors import AnomalibLiteError, SourceError
from anomalib_lite.edge.runs.scoring import ScoredFrame
from anomalib_lite.evaluation import EvaluationSettings, evaluate
from anomalib_lite.report.evaluation import render_report
from anomalib_lite.report.load import load_evaluation
from anomalib_lite.report.promised import best_threshold, missed, rejected

SMALL = {"train": 16, "test_good": 4, "test_per_defect": 1, "size": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished evaluation of two detectors on generated parts."""
    home = tmp_path_factory.mktemp("evaluation")
    write_dataset(home / "data", "flange", **SMALL)
    settings = EvaluationSettings(
        data=(f"mvtec:{home / 'data'}",),
        detectors=("padim", "mvg"),
        backbones=("filters",),
        seeds=1,
        image_size=(64, 64),
    )
    evaluate(settings, home / "out")
    return home / "out"


def records(folder: Path) -> dict[str, dict[str, Any]]:
    return {p.stem: json.loads(p.read_text()) for p in (folder / "runs").glob("*.json")}


def test_what_is_loaded_equals_the_files(folder: Path) -> None:
    data = load_evaluation(folder)
    kept = records(folder)
    assert [run.model for run in data.runs] == ["padim on filters", "mvg on filters"]
    for run in data.runs:
        record = kept[run.key]
        lines = (folder / "runs" / f"{run.key}.scores.jsonl").read_text().splitlines()
        assert dict(run.metrics) == record["metrics"]
        assert run.operating.threshold == record["operating"]["threshold"]
        assert run.rejected_good == record["operating"]["false_reject"]["num_hits"]
        assert len(run.anomalous) - run.found == record["operating"]["miss"]["num_hits"]
        assert [part.score for part in run.parts] == [json.loads(line)["score"] for line in lines]
        for point in run.compared:
            stored = record["operating"]["at"][f"{point.requested:g}"]
            assert point.false_reject_rate == stored["promised_false_reject"]
            for tally, name in ((missed, "miss"), (rejected, "false_reject")):
                found, expected = tally(run, point.threshold), stored[name]
                assert (found.hits, found.total) == (expected["num_hits"], expected["num_samples"])
        best = missed(run, best_threshold(run))
        assert best.hits == record["operating"]["best"]["miss"]["num_hits"]
        assert [point.requested for point in run.compared] == [0.01, 0.05]
        recall = record["operating"]["recall_per_defect"]
        assert {name: rate.num_hits for name, rate in run.recall.items()} == {
            name: rate["num_hits"] for name, rate in recall.items()
        }


def test_an_evaluation_without_figures_at_other_rates_still_gives_its_page(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "old")
    for path in (tmp_path / "old/runs").glob("*.json"):
        record = json.loads(path.read_text())
        del record["operating"]["at"], record["operating"]["best"]
        path.write_text(json.dumps(record))
    found = Page.of(render_report(load_evaluation(tmp_path / "old")))
    assert "Missed at" not in found.text
    assert "Good parts rejected" in found.text


def test_the_worst_frames_come_with_pictures_and_outlines(folder: Path) -> None:
    padim, mvg = load_evaluation(folder).runs
    scores = sorted((part.score for part in padim.good), reverse=True)
    assert [example.part.score for example in padim.false_rejects] == scores
    assert all(e.picture and e.picture.heat for e in padim.misses)
    assert all(e.outlined for e in padim.misses)
    assert all(e.picture and not e.picture.heat for e in mvg.misses)


def test_the_page_shows_the_figures_of_the_files(folder: Path) -> None:
    found = Page.of(render_report(load_evaluation(folder)))
    padim = next(r for r in records(folder).values() if r["detector"] == "padim")
    row = next(row for row in found.cells if row[1:2] == ["padim on filters"])
    shown = [f"{padim['metrics'][name]:.3f}" for name in ("image_auroc", "aupro")]
    assert all(any(cell.lstrip("> ") == value for cell in row) for value in shown)
    assert found.open_tags == []


def test_a_moved_data_set_leaves_a_report_without_pictures(folder: Path, tmp_path: Path) -> None:
    for path in folder.rglob("*"):
        target = tmp_path / path.relative_to(folder)
        if path.is_dir():
            target.mkdir()
        elif path.suffix == ".json" and path.parent.name == "runs":
            target.write_text(json.dumps({**json.loads(path.read_text()), "root": "/nowhere"}))
        else:
            target.write_bytes(path.read_bytes())
    found = Page.of(render_report(load_evaluation(tmp_path)))
    assert not found.all("img")
    assert "no picture: see the file" in found.text


def test_the_summary_timing_and_maps_are_optional(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for path in (folder / "runs").iterdir():
        if path.suffix != ".npz":
            (tmp_path / "runs" / path.name).write_bytes(path.read_bytes())
    data = load_evaluation(tmp_path)
    assert len(data.runs) == 2
    assert all(run.misses[0].picture for run in data.runs)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", "{"),
        ("x.json", "[]"),
        ("x.json", '{"kind": "a"}'),
        ("{key}.scores.jsonl", '{"frame": "a"}\n'),
        ("{key}.maps.npz", "PK nonsense"),
    ],
)
def test_a_damaged_file_is_one_clear_error(
    folder: Path, tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / "runs").mkdir()
    for path in (folder / "runs").iterdir():
        (tmp_path / "runs" / path.name).write_bytes(path.read_bytes())
    key = next(iter(records(folder)))
    (tmp_path / "runs" / name.format(key=key)).write_text(content)
    with pytest.raises(AnomalibLiteError, match="not a file of an evaluation"):
        load_evaluation(tmp_path)


def test_maps_of_another_run_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for path in (folder / "runs").iterdir():
        (tmp_path / "runs" / path.name).write_bytes(path.read_bytes())
    key = next(iter(records(folder)))
    np.savez(
        tmp_path / "runs" / f"{key}.maps.npz",
        frame_index=np.array([9999]),
        is_miss=np.array([True]),
        maps=np.zeros((1, 2, 2), np.float32),
    )
    with pytest.raises(AnomalibLiteError, match="out of range"):
        load_evaluation(tmp_path)


def test_a_folder_without_evaluation_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no evaluation"):
        load_evaluation(tmp_path)


def test_the_report_command_writes_one_file(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "r.html"
    done = CliRunner().invoke(app, ["report", str(folder), "--out", str(target)])
    assert done.exit_code == 0, done.output
    assert "2 runs" in done.output
    assert target.read_bytes() == render_report(load_evaluation(folder)).encode()


@pytest.fixture(scope="module")
def edge_model(folder: Path) -> Path:
    """An edge file fitted on the same parts."""
    path = folder.parent / "flange.onnx"
    Detector("padim", image_size=64).fit(folder.parent / "data/flange/train/good").export(path)
    return path


def test_score_with_report_writes_the_production_report(edge_model: Path, tmp_path: Path) -> None:
    line, out = tmp_path / "line", tmp_path / "scored"
    line.mkdir()
    for source in (edge_model.parent / "data/flange/test").rglob("*.jpg"):
        (line / f"{source.parent.name}_{source.name}").write_bytes(source.read_bytes())
    (line / "torn <b>.png").write_bytes(b"no picture")
    command = ["score", str(edge_model), str(line), "--out", str(out), "--report"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 3, done.output
    results = [json.loads(text) for text in (out / "results.jsonl").read_text().splitlines()]
    judged = [result for result in results if "score" in result]
    found = Page.of((out / "report.html").read_text(encoding="utf-8"))
    assert f"Frames judged {len(judged)} {len(results)} arrived." in found.text
    assert f"Rejected {sum(r['is_anomalous'] for r in judged)} " in found.text
    assert "torn <b>.png" in found.text
    assert "file sha256" in found.text


def test_without_report_nothing_more_is_written(edge_model: Path, tmp_path: Path) -> None:
    source = edge_model.parent / "data/flange/test/dent"
    CliRunner().invoke(app, ["score", str(edge_model), str(source), "--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"results.jsonl", "run.json"}


def test_an_interrupted_run_leaves_a_report_of_what_came(
    edge_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomalib_lite.report.production import ProductionReport

    add, seen = ProductionReport.add, []

    def interrupted(self: ProductionReport, item: ScoredFrame, pairs: object) -> None:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(item)
        add(self, item)

    monkeypatch.setattr(ProductionReport, "add", interrupted)
    source = edge_model.parent / "data/flange/test/good"
    command = ["score", str(edge_model), str(source), "--out", str(tmp_path), "--report"]
    CliRunner().invoke(app, command)
    assert "Frames judged 2 " in Page.of((tmp_path / "report.html").read_text()).text
