"""A picture and a depth: one tiny backbone and scorer, through every stage from file to edge."""

import json
import sys
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional as F
from triton_schema import read_config

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.backbones import register_backbone
from anomalib_lite.backbones.features import Features, LayerInfo
from anomalib_lite.backbones.filters import FilterBackbone
from anomalib_lite.cli import main as cli_main
from anomalib_lite.data.parts import render
from anomalib_lite.edge import FrameError, InputSpec, SettingsError, SourceError
from anomalib_lite.edge.benchmark import measure
from anomalib_lite.edge.engines import open_engine
from anomalib_lite.edge.inputs import Inputs, prepare_view, stacked
from anomalib_lite.edge.measured import MeasuredSpec
from anomalib_lite.edge.runs.scoring import score_source
from anomalib_lite.edge.source_kinds.paired_source import PairedSource
from anomalib_lite.export.triton import config_pbtxt
from anomalib_lite.scorers import Scorer, Scores
from anomalib_lite.scorers import registry as scorers_by_name

SIDE = 64
DEPTH = MeasuredSpec(SIDE, SIDE, stored="uint16", scale=0.001)
CELL = 8


class PictureAndDepth(FilterBackbone):
    """The filter bank, and depth averaged over cells of what was measured."""

    inputs: ClassVar = ("frames", "depth")

    def __init__(self, **options):
        super().__init__(**options)
        self.name = "picture_and_depth"

    def layer_infos(self, input_hw):
        grid = (input_hw[0] // CELL, input_hw[1] // CELL)
        further = [LayerInfo(name, 1, CELL, grid) for name in ("depth.value", "depth.valid")]
        return (*super().layer_infos(input_hw), *further)

    def read(self, prepared):
        features = super().read(prepared)
        depth = prepared["depth"].permute(0, 3, 1, 2)
        valid = F.avg_pool2d(depth[:, 1:], CELL)
        value = F.avg_pool2d(depth[:, :1], CELL) / valid.clamp(min=1e-6)
        maps = {**features.maps, "depth.value": value, "depth.valid": valid}
        return Features(features.pixels, maps)


class FlatAndUsual(Scorer):
    """How far colour and depth are from their mean over good parts; gaps count as usual."""

    name = "flat_and_usual"

    def fit(self, stream, context):
        colours, depths, valid = [], [], []
        for batch in stream:
            maps = batch.features.maps
            colours.append(maps["octave1"])
            depths.append(maps["depth.value"] * maps["depth.valid"])
            valid.append(maps["depth.valid"])
        self.register_buffer("colour_", torch.cat(colours).mean(dim=0))
        weight = torch.cat(valid).sum(dim=0).clamp(min=1e-6)
        self.register_buffer("depth_", torch.cat(depths).sum(dim=0) / weight)

    def forward(self, features):
        maps = features.maps
        colour = (maps["octave1"] - self.colour_).square().mean(dim=1, keepdim=True)
        away = (maps["depth.value"] - self.depth_).abs() * (maps["depth.valid"] > 0)
        total = (F.avg_pool2d(colour, 2) + 100 * away)[:, 0]
        return Scores(total.amax(dim=(1, 2)), total, {"depth_away": away[:, 0].amax(dim=(1, 2))})


def depth_of(index, dent=False):
    """A tilted plane in millimetres with a little noise, a gap, and perhaps a dent."""
    rng = np.random.default_rng(index)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    depth = 900 + rows + columns // 2 + rng.integers(0, 3, (SIDE, SIDE))
    if dent:
        depth[20:40, 20:40] += 60
    depth[2:8, 50:60] = 0
    return depth.astype(np.uint16)


def view_of(index, **options):
    picture = render("flange", seed=0, index=index, size=96).image
    return {"frames": picture, "depth": depth_of(index, **options)}


@pytest.fixture(scope="module")
def views():
    return [view_of(index) for index in range(12)]


@pytest.fixture(scope="module")
def detector(views):
    """Fitted on twelve views; backbone and scorer are known by name while this module runs."""
    scorers_by_name.create_scorer("padim")  # fills the registry before it grows
    scorers_by_name.register_scorer(FlatAndUsual)
    register_backbone("picture_and_depth")(PictureAndDepth)
    yield made().fit(views)
    del scorers_by_name._REGISTRY["flat_and_usual"]
    del register_backbone.known["picture_and_depth"]


def made(**changed):
    given = {"backbone": "picture_and_depth", "image_size": SIDE, "inputs": {"depth": DEPTH}}
    return Detector("flat_and_usual", **{**given, **changed})


@pytest.fixture(scope="module")
def path(detector, tmp_path_factory):
    file = tmp_path_factory.mktemp("pair") / "pair.onnx"
    detector.export(file)
    return file


def test_it_sees_a_dent_that_the_picture_does_not_show(detector):
    good, dented = detector.predict(view_of(50)), detector.predict(view_of(50, dent=True))
    assert dented.is_anomalous
    assert dented.score > 3 * good.score
    # 60 mm at most, from the mean of the plane, in metres.
    assert dented.extra["depth_away"] == pytest.approx(0.06, abs=0.003)
    row, column = np.unravel_index(dented.network_map.argmax(), dented.network_map.shape)
    assert 20 // CELL <= row < 40 // CELL
    assert 20 // CELL <= column < 40 // CELL
    assert dented.frame_hw == (96, 96)


def test_the_graph_has_an_input_for_each_with_any_batch(path):
    inputs = {item.name: item.type.tensor_type for item in onnx.load(path).graph.input}
    assert list(inputs) == ["frames", "depth"]
    shapes = [[dim.dim_param or dim.dim_value for dim in inputs[n].shape.dim] for n in inputs]
    assert shapes == [["N", SIDE, SIDE, 3], ["N", SIDE, SIDE, 2]]
    kinds = [onnx.TensorProto.DataType.Name(inputs[name].elem_type) for name in inputs]
    assert kinds == ["UINT8", "FLOAT"]


def test_triton_is_told_both_inputs(path):
    config = read_config(config_pbtxt(path, "pair"))
    assert [(item.name, list(item.dims)) for item in config.input] == [
        ("frames", [SIDE, SIDE, 3]),
        ("depth", [SIDE, SIDE, 2]),
    ]
    assert [item.name for item in config.output] == ["score", "anomaly_map", "depth_away"]
    assert sorted(config.model_warmup[0].inputs) == ["depth", "frames"]


@pytest.mark.parametrize(("engine", "rtol"), [("onnxruntime", 1e-4), ("openvino", 2e-3)])
@pytest.mark.parametrize("batch", [1, 3])
def test_every_engine_gives_the_fitted_models_numbers(detector, path, engine, rtol, batch):
    pytest.importorskip(engine)
    chosen = [view_of(50 + index, dent=index == 1) for index in range(batch)]
    prepared = stacked([prepare_view(view, detector.inputs) for view in chosen])
    found, expected = open_engine(path, engine, threads=1).run(prepared), detector.run(prepared)
    np.testing.assert_allclose(found.score, expected.score, rtol=rtol)
    np.testing.assert_allclose(
        found.anomaly_map, expected.anomaly_map, atol=rtol * expected.anomaly_map.max()
    )
    np.testing.assert_allclose(
        found.extra["depth_away"], expected.extra["depth_away"], rtol=rtol, atol=1e-6
    )


def test_the_edge_model_checks_itself_judges_alike_and_is_timed(detector, path):
    edge = EdgeModel(path)
    assert all(result.passed for result in edge.check())
    assert edge.inputs.measured == {"depth": DEPTH}
    for view in (view_of(51), view_of(51, dent=True)):
        one, other = edge.predict(view), detector.predict(view)
        assert one.score == pytest.approx(other.score, rel=1e-4)
        assert one.is_anomalous == other.is_anomalous
    result = measure(edge, repeats=3)
    assert [stage.name for stage in result.stages][-1] == "total"
    assert result.frame_hw == (96, 96)


def test_a_saved_detector_loads_with_its_inputs_and_exports_the_same_file(detector, path, tmp_path):
    loaded = Detector.load(detector.save(tmp_path / "pair.safetensors"))
    assert loaded.inputs.measured == {"depth": DEPTH}
    assert loaded.predict(view_of(52)).score == detector.predict(view_of(52)).score
    assert loaded.data.fingerprint == detector.data.fingerprint
    loaded.export(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_what_stands_in_a_cell_without_measurement_changes_nothing(views):
    """Zero, NaN and infinity say the same, in a fit and in a prediction."""
    spec = MeasuredSpec(SIDE, SIDE, scale=0.001)

    def with_gaps(view, value):
        depth = view["depth"].astype(np.float32)
        depth[depth == 0] = value
        return {**view, "depth": depth}

    scores = []
    for value in (0.0, np.nan, np.inf):
        fitted = made(inputs={"depth": spec}).fit([with_gaps(view, value) for view in views])
        dented = fitted.predict(with_gaps(view_of(53, dent=True), value))
        scores.append((dented.score, fitted.threshold, fitted.data.fingerprint))
    assert scores[0] == scores[1] == scores[2]


def test_pairs_of_folders_are_read_by_name(detector, tmp_path):
    frames, depth = tmp_path / "frames", tmp_path / "depth"
    frames.mkdir()
    depth.mkdir()
    for index in range(8):
        view = view_of(index)
        cv2.imwrite(str(frames / f"{index:02d}.png"), view["frames"][:, :, ::-1])
        if index % 2:
            cv2.imwrite(str(depth / f"{index:02d}.png"), view["depth"])
        else:
            np.save(depth / f"{index:02d}.npy", view["depth"])
    source = PairedSource({"frames": frames, "depth": depth}, detector.inputs)
    assert len(source) == 8
    scored = list(score_source(detector, source, batch=3))
    assert [item.error for item in scored] == [""] * 8
    assert scored[1].prediction.score == detector.predict(view_of(1)).score
    files = {"frames": frames / "03.png", "depth": depth / "03.png"}
    assert detector.predict(files).score == scored[3].prediction.score
    assert made().fit(source).data.images == 8
    (depth / "05.png").write_bytes(b"")
    (lost,) = [item for item in score_source(detector, source) if item.error]
    assert lost.name.endswith("05.png")
    assert "the file is empty (0 bytes)" in lost.error


def test_the_command_line_scores_and_checks_folders_by_name(path, tmp_path, monkeypatch, capfd):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["anomalib-lite", *map(str, arguments)])
        status = 0
        try:
            cli_main.run()
        except SystemExit as stop:
            status = stop.code or 0
        return status, capfd.readouterr().err

    for name in ("frames", "depth"):
        (tmp_path / name).mkdir()
    for index in range(3):
        view = view_of(60 + index, dent=index == 1)
        cv2.imwrite(str(tmp_path / f"frames/{index}.png"), view["frames"][:, :, ::-1])
        cv2.imwrite(str(tmp_path / f"depth/{index}.tiff"), view["depth"])
    source = f"frames={tmp_path}/frames,depth={tmp_path}/depth"
    out = tmp_path / "out"
    assert run("score", path, source, "--out", out, "--heatmaps", "--report")[0] == 0
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [Path(line["frame"]).name for line in lines] == ["0.png", "1.png", "2.png"]
    assert max(range(3), key=lambda index: lines[index]["score"]) == 1
    assert lines[1]["extra"]["depth_away"] == pytest.approx(0.06, abs=0.003)
    assert run("check", path)[0] == 0
    status, told = run("score", path, tmp_path / "frames", "--out", out)
    assert status == 2
    assert "the model sees frames and depth; write frames=FOLDER,depth=FOLDER" in told
    assert "Traceback" not in told


def test_a_lone_file_is_one_clear_line(detector, tmp_path):
    frames, depth = tmp_path / "frames", tmp_path / "depth"
    folders = {"frames": frames, "depth": depth}
    with pytest.raises(SourceError, match=r"frames: no such folder, for the input frames"):
        PairedSource(folders, detector.inputs)
    frames.mkdir()
    depth.mkdir()
    for name in ("a", "b", "c"):
        cv2.imwrite(str(frames / f"{name}.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SourceError, match=r"depth: holds no depth \(\.npy, .*\); give the folder"):
        PairedSource(folders, detector.inputs)
    np.save(depth / "a.npy", np.ones((8, 8), np.uint16))
    with pytest.raises(
        SourceError, match=r"b\.png \(and 1 more\) has no partner in .*depth: no file .* b\.\*"
    ):
        PairedSource(folders, detector.inputs)
    for name in ("b", "c", "d"):
        np.save(depth / f"{name}.npy", np.ones((8, 8), np.uint16))
    with pytest.raises(SourceError, match=r"d\.npy has no partner in .*frames"):
        PairedSource(folders, detector.inputs)
    (depth / "d.npy").unlink()
    np.save(depth / "a.tif.npy", np.ones((8, 8), np.uint16))
    (depth / "a.tif.npy").rename(depth / "a.tif")
    with pytest.raises(SourceError, match=r"have the same name; leave one of them out"):
        PairedSource(folders, detector.inputs)
    with pytest.raises(SourceError, match="the model sees frames and depth: give one for each"):
        PairedSource({"frames": frames}, detector.inputs)


def test_what_does_not_fit_is_one_line(detector, path, mvg, views, good_frames, tmp_path):
    picture = views[0]["frames"]
    edge = EdgeModel(path)
    needs = "the model sees frames and depth: "
    for model in (detector, edge):
        with pytest.raises(FrameError, match=needs + "depth missing"):
            model.predict(picture)
        with pytest.raises(FrameError, match=needs + "depth missing; thermal unknown"):
            model.predict({"frames": picture, "thermal": picture})
        with pytest.raises(FrameError, match="depth: holds float32, declared are uint16 values"):
            model.predict({"frames": picture, "depth": np.ones((8, 8), np.float32)})
        with pytest.raises(FrameError, match="depth: is 8x32, its picture 96x96: not the same"):
            model.predict({"frames": picture, "depth": np.ones((8, 32), np.uint16)})
        with pytest.raises(FrameError, match=r"depth: has shape \(8, 8, 3\), expected \(H, W\)"):
            model.predict({"frames": picture, "depth": np.ones((8, 8, 3), np.uint16)})
        with pytest.raises(FrameError, match="depth: expected an array or a file, got list"):
            model.predict({"frames": picture, "depth": [1]})
    several = detector.predict([views[0], picture])
    assert "depth missing" in several[1].error
    with pytest.raises(FrameError, match="the model sees frames: depth unknown"):
        mvg.predict(views[0])
    assert mvg.predict({"frames": picture}).score == mvg.predict(picture).score
    with pytest.raises(SourceError, match="give a PairedSource with a folder for each"):
        made().fit(str(tmp_path))
    with pytest.raises(SettingsError, match="picture_and_depth reads frames and depth, declared"):
        made(inputs={})
    with pytest.raises(SettingsError, match=r"filters reads frames, .* depth; leave inputs out"):
        made(backbone="filters")
    with pytest.raises(SettingsError, match="input 'depth' is 32x32, the picture 64x64"):
        made(inputs={"depth": MeasuredSpec(32, 32)})


def test_a_plain_file_says_nothing_of_further_inputs(mvg_files):
    (entry,) = onnx.load(mvg_files[1]).metadata_props
    document = json.loads(entry.value)
    assert "measured_inputs" not in document
    assert all("measured" not in probe for probe in document["probes"])
    assert EdgeModel(mvg_files[1]).inputs.names == ("frames",)


def test_outside_the_region_of_interest_nothing_is_measured():
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, : SIDE // 2] = 1
    inputs = Inputs(InputSpec(height=SIDE, width=SIDE).with_roi(mask), {"depth": DEPTH})
    prepared = prepare_view(view_of(0), inputs)
    assert prepared["depth"][:, SIDE // 2 :].max() == 0
    assert prepared["depth"][:, : SIDE // 2, 1].mean() == 1
