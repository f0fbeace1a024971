"""`export --triton`: a repository that fits Triton's published schema and the graph itself."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from triton_schema import read_config

from anomalib_lite import EdgeModel
from anomalib_lite.cli.main import run
from anomalib_lite.edge.errors import AnomalibLiteError, SettingsError
from anomalib_lite.edge.files import sha256_file
from anomalib_lite.export.triton import MOST_FRAMES, config_pbtxt, model_folder, write_model

FIXTURES = Path(__file__).parents[1] / "fixtures"
FILES = sorted(FIXTURES.glob("*.onnx"))
NUMPY = {2: np.uint8, 9: np.int64, 11: np.float32}


def command(monkeypatch, *arguments):
    """Exit status of a command in this process."""
    monkeypatch.setattr(sys, "argv", ["anomalib-lite", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        run()
    return stop.value.code or 0


def tensor(found, batch):
    """Shape of a tensor of the graph, as the configuration tells it."""
    shape = found.reshape.shape if found.HasField("reshape") else found.dims
    return [batch, *shape]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_configuration_tells_names_types_and_shapes_of_the_graph(path):
    config = read_config(config_pbtxt(path, "part"))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [item.name for item in config.input] == [item.name for item in session.get_inputs()]
    assert [item.name for item in config.output] == [item.name for item in session.get_outputs()]
    assert all(side > 0 for item in (*config.input, *config.output) for side in item.dims)
    for batch in (1, 3):
        given = {
            item.name: np.zeros(tensor(item, batch), NUMPY[item.data_type]) for item in config.input
        }
        for item, found in zip(config.output, session.run(None, given), strict=True):
            assert (found.dtype, list(found.shape)) == (
                NUMPY[item.data_type],
                tensor(item, batch),
            )


def test_the_whole_configuration_of_a_known_file():
    path = FIXTURES / "gda.onnx"
    model = EdgeModel(path)
    rows, columns = model.run(model.inputs.blank()).anomaly_map.shape[1:]
    threshold, of_maps = model.threshold, model.calibration.map_threshold
    assert (
        config_pbtxt(path, "part")
        == f"""name: "part"
backend: "onnxruntime"
max_batch_size: 16
dynamic_batching {{ max_queue_delay_microseconds: 500 }}
input {{ name: "frames" data_type: TYPE_UINT8 dims: [64, 64, 3] }}
output {{ name: "score" data_type: TYPE_FP32 dims: [1] reshape {{ shape: [] }} }}
output {{ name: "anomaly_map" data_type: TYPE_FP32 dims: [{rows}, {columns}] }}
output {{ name: "product_scores" data_type: TYPE_FP32 dims: [2] }}
model_warmup {{ name: "black" batch_size: 1 inputs {{ key: "frames" value {{ data_type: \
TYPE_UINT8 dims: [64, 64, 3] zero_data: true }} }} }}
parameters {{ key: "anomalib_lite.threshold" value {{ string_value: "{threshold!r}" }} }}
parameters {{ key: "anomalib_lite.map_threshold" value {{ string_value: "{of_maps!r}" }} }}
parameters {{ key: "anomalib_lite.sha256" value {{ string_value: "{sha256_file(path)}" }} }}
"""
    )


def test_the_schema_refuses_what_it_does_not_have():
    for text in ("max_batch: 3", 'max_batch_size: "3"', "input { data_type: FLOAT }"):
        with pytest.raises(text_format.ParseError):
            read_config(text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_configuration_fits_the_clients_own_schema(path):
    model_config_pb2 = pytest.importorskip(
        "tritonclient.grpc.model_config_pb2", exc_type=(ImportError, RuntimeError)
    )
    found = text_format.Parse(config_pbtxt(path, "part"), model_config_pb2.ModelConfig())
    assert found.SerializeToString(deterministic=True) == read_config(
        config_pbtxt(path, "part")
    ).SerializeToString(deterministic=True)


def test_the_command_writes_a_repository_beside_the_file(monkeypatch, tmp_path, padim_files):
    out, repository = tmp_path / "part 1.onnx", tmp_path / "models"
    assert command(monkeypatch, "export", padim_files[0], out, "--triton", repository) == 0
    folder = repository / "part_1"
    assert [path.name for path in repository.iterdir()] == ["part_1"]
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == [
        "1",
        "1/model.onnx",
        "config.pbtxt",
    ]
    assert (folder / "1" / "model.onnx").read_bytes() == out.read_bytes()
    config = read_config((folder / "config.pbtxt").read_text())
    assert config.name == "part_1"
    assert config.max_batch_size == MOST_FRAMES
    assert float(config.parameters["anomalib_lite.threshold"].string_value) == pytest.approx(
        EdgeModel(folder / "1" / "model.onnx").threshold, rel=0
    )
    assert config.parameters["anomalib_lite.sha256"].string_value == sha256_file(out)


def test_what_is_there_is_never_written_over(monkeypatch, tmp_path, padim_files, capfd):
    (tmp_path / "models" / "part" / "1").mkdir(parents=True)
    (tmp_path / "models" / "part" / "1" / "model.onnx").write_bytes(b"served")
    out = tmp_path / "part.onnx"
    assert command(monkeypatch, "export", padim_files[0], out, "--triton", out.parent / "models")
    assert "exists already" in capfd.readouterr().err
    assert not out.exists()
    assert (tmp_path / "models" / "part" / "1" / "model.onnx").read_bytes() == b"served"


def test_a_repository_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="is a file"):
        model_folder(tmp_path / "file", "part.onnx")
    with pytest.raises(AnomalibLiteError):
        write_model(FIXTURES / "none.onnx", tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("stem", "name"), [("part", "part"), ("Teil Nr. 5", "Teil_Nr._5"), ("ö", "_"), (".x", "x")]
)
def test_a_model_is_named_after_its_file(tmp_path, stem, name):
    assert model_folder(tmp_path, f"{stem}.onnx") == tmp_path / name


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(AnomalibLiteError, match="No space left"):
        write_model(FIXTURES / "mvg.onnx", tmp_path / "models")
    assert [path.name for path in tmp_path.rglob("*")] == ["models"]


def test_importing_the_command_needs_no_torch():
    code = "import sys, anomalib_lite.cli.export; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
