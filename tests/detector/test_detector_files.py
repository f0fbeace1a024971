"""Saved detectors and edge files: bitwise round trips, and no damage that goes unnoticed."""

import json
import os
import resource
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.backbones.timm_models import refuse_larger
from anomalib_lite.detector.file import write_state
from anomalib_lite.edge import AnomalibLiteError, ModelFileError
from anomalib_lite.edge.model_files.headers import HEADER_KEY, read_header
from anomalib_lite.edge.model_files.integrity import seal


def opener(path):
    return EdgeModel if path.suffix == ".onnx" else Detector.load


@pytest.fixture(params=["padim", "mvg"])
def saved(request):
    """A fitted detector and its file."""
    return request.getfixturevalue(request.param), request.getfixturevalue(
        f"{request.param}_files"
    )[0]


def test_loading_gives_back_every_bit(saved, good_frames, scratched, tmp_path):
    detector, path = saved
    loaded = Detector.load(path)
    for name, value in detector.graph.state_dict().items():
        assert torch.equal(value, loaded.graph.state_dict()[name]), name
    assert loaded.calibration == detector.calibration
    assert loaded.data == detector.data
    assert loaded.spec.to_dict() == detector.spec.to_dict()
    assert loaded.seed == detector.seed
    for frame in (*good_frames[:2], *scratched):
        one, other = detector.predict(frame), loaded.predict(frame)
        assert one.to_dict() == other.to_dict()
        np.testing.assert_array_equal(one.network_map, other.network_map)
    again = loaded.save(tmp_path / "again.safetensors")
    assert again.read_bytes() == path.read_bytes()


def test_a_name_alone_does_not_fill_the_memory(padim, tmp_path):
    state = padim.state()
    named = replace(state, backbone={**state.backbone, "name": "vit_giant_patch14_dinov2"})
    path = write_state(named, tmp_path / "forged.safetensors")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelFileError, match=r"vit_giant_patch14_dinov2 takes 4546 MB, the file"):
        Detector.load(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 500_000
    refuse_larger("resnet18", 0)
    refuse_larger("filters", 0)
    refuse_larger("vit_giant_patch14_dinov2", 200 << 20)


def test_a_loaded_detector_goes_on_learning(padim, padim_files, good_frames):
    from anomalib_lite.detector.image_stream import ImageStream
    from anomalib_lite.edge.sources import ArraySource
    from anomalib_lite.scorers import FitContext

    loaded = Detector.load(padim_files[0])
    before = {name: value.clone() for name, value in loaded.scorer.state_dict().items()}
    stream = ImageStream(ArraySource(good_frames[:4]), loaded.backbone, loaded.spec)
    with torch.no_grad():
        loaded.scorer.partial_fit(stream, FitContext())
        assert int(loaded.scorer.moments.count_) == 16
        loaded.scorer.forget(stream, FitContext())
    for name, value in loaded.scorer.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=2e-4, atol=1e-5)


FIT = """
import sys
from anomalib_lite import Detector
folder, out = sys.argv[1:]
detector = Detector("padim", image_size=64, num_features=12).fit(folder)
detector.save(out + ".safetensors")
detector.export(out + ".onnx")
"""


def test_the_same_seed_gives_the_same_bytes_in_another_process(good_folder, tmp_path):
    jobs = []
    for name, hash_seed in (("one", "1"), ("two", "2")):
        command = [sys.executable, "-c", FIT, str(good_folder), str(tmp_path / name)]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
        jobs.append(subprocess.Popen(command, env=environment))
    assert [job.wait(timeout=120) for job in jobs] == [0, 0]
    for suffix in (".safetensors", ".onnx"):
        one, two = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two


def test_another_seed_gives_another_detector(padim, good_frames):
    other = Detector("padim", image_size=64, num_features=16, seed=1).fit(good_frames)
    assert other.scorer.channels_.tolist() != padim.scorer.channels_.tolist()
    assert other.calibration.scores != padim.calibration.scores


@pytest.mark.parametrize("kind", [0, 1], ids=["safetensors", "onnx"])
def test_damage_anywhere_is_noticed(kind, padim_files, tmp_path_factory):
    original = padim_files[kind]
    data = original.read_bytes()
    path = tmp_path_factory.mktemp("damage") / f"x{original.suffix}"
    load = opener(path)

    @settings(max_examples=60, deadline=None)
    @given(
        where=st.floats(0, 1), near_an_end=st.booleans(), bit=st.integers(0, 7), cut=st.booleans()
    )
    def check(where, near_an_end, bit, cut):
        reach = min(len(data), 6000) if near_an_end else len(data)
        position = int(where * (reach - 1))
        if near_an_end and bit % 2:
            position = len(data) - 1 - position
        if cut:
            path.write_bytes(data[:position])
        else:
            path.write_bytes(
                data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]
            )
        with pytest.raises(ModelFileError) as caught:
            load(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)

    check()


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\x00" * 64, b"\xff" * 64, struct.pack("<Q", 2) + b"{}", b"<html></html>" * 9],
    ids=["empty", "one byte", "zeros", "ones", "empty header", "html"],
)
def test_foreign_content_is_refused_in_one_line(suffix, content, tmp_path):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        opener(path)(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_missing_files_and_folders_are_refused_in_one_line(suffix, tmp_path):
    with pytest.raises(ModelFileError, match="no such file"):
        opener(tmp_path / f"x{suffix}")(tmp_path / f"x{suffix}")
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    with pytest.raises(ModelFileError):
        opener(folder)(folder)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {HEADER_KEY: "{}"}])
def test_weights_of_somebody_else_are_no_detector(metadata, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"conv1.weight": torch.zeros(3)}, path, metadata=metadata)
    with pytest.raises(ModelFileError, match="not a detector saved by anomalib_lite"):
        Detector.load(path)


def rewritten(source, target, change):
    """The detector file with its header changed and its seal renewed."""
    header = read_header(source)
    mark = header["seal"]
    header["seal"] = mark[: mark.index(":") + 1] + "0" * (len(mark) - mark.index(":") - 1)
    change(header)
    save_file(load_file(source), target, metadata={HEADER_KEY: json.dumps(header)})
    if "seal" in header:
        seal(target)
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(format_version=99), "format version 99, this program reads up to 1"),
        (lambda h: h.update(format_version="x"), "not a readable .safetensors file"),
        (lambda h: h.update(format="other"), "not a detector saved by anomalib_lite"),
        (lambda h: h.pop("seal"), "is damaged"),
        (lambda h: h.pop("about"), "its content is damaged (it has no 'about'"),
        (lambda h: h["about"].pop("backbone"), "its content is damaged (about has no 'backbone'"),
        (
            lambda h: h["calibration"].update(scores="x"),
            "(calibration.scores is 'x', expected a list",
        ),
        (
            lambda h: h["input_spec"].update(height="x"),
            "(input_spec.height is 'x', expected a",
        ),
        (
            lambda h: h["input_spec"].update(roi="AAAA"),
            "its content is damaged (its fields were changed",
        ),
    ],
)
def test_headers_that_do_not_fit_are_refused_in_one_line(change, message, padim_files, tmp_path):
    path = rewritten(padim_files[0], tmp_path / "x.safetensors", change)
    with pytest.raises(ModelFileError) as caught:
        Detector.load(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("header", ["[]", "3", '"text"', "null", '{"format": 3}'])
def test_headers_of_another_shape_are_refused(header, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(3)}, path, metadata={HEADER_KEY: header})
    with pytest.raises(ModelFileError):
        Detector.load(path)


def test_a_detector_file_holds_no_pickle_and_no_absolute_path(padim_files, good_folder, tmp_path):
    fitted = Detector("mvg", image_size=64).fit(good_folder)
    content = fitted.save(tmp_path / "x.safetensors").read_bytes()
    assert str(good_folder).encode() not in content
    assert b"__reduce__" not in content
    assert read_header(tmp_path / "x.safetensors")["about"]["data"]["source"] == "good"


LIMITED = """
import resource, sys
from anomalib_lite import Detector
from anomalib_lite.edge import AnomalibLiteError
detector = Detector.load(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for verb in ("save", "export"):
    try:
        getattr(detector, verb)(sys.argv[2] + "/full")
    except AnomalibLiteError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a file size limit")
def test_a_disk_that_fills_up_leaves_nothing_behind(padim_files, tmp_path):
    (tmp_path / "full").write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(padim_files[0]), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) == 2
    assert all(line.startswith(f"cannot write {tmp_path}/full: ") for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
    assert (tmp_path / "full").read_bytes() == b"old"


def test_a_folder_that_cannot_be_written_is_one_line(padim):
    for verb in (padim.save, padim.export):
        with pytest.raises(AnomalibLiteError, match="nothing was written"):
            verb("/proc/anomalib/part")
