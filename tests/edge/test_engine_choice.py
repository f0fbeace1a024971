"""`auto` measures once, remembers, and says what it chose; no engine falls back in silence."""

import json
import os
import pickle
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from anomalib_lite import EdgeModel
from anomalib_lite.edge import engines
from anomalib_lite.edge.errors import ModelFileError, SettingsError
from anomalib_lite.edge.running import cache, onnxruntime_engine, openvino_engine, providers
from anomalib_lite.edge.running.choice import choose_engine

FILE = Path(__file__).parents[1] / "fixtures" / "padim.onnx"
FRAME = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def made_up(times, monkeypatch, refused=()):
    """Engines that take so many milliseconds by a clock that the test turns."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    asked = []

    def opened(name):
        asked.append(name)
        if name in refused:
            raise SettingsError(f"{name} is not for this box")

        def call():
            now[0] += times[name] / 1e3

        return call

    return opened, asked


def test_the_quickest_that_reproduces_is_chosen_and_remembered(monkeypatch, own_cache):
    opened, asked = made_up({"a": 3.0, "b": 2.0}, monkeypatch, refused=["c"])
    first = choose_engine(FILE, ["a", "b", "c"], opened, "threads 1")
    assert (first.engine, first.milliseconds) == ("b", {"a": 3.0, "b": 2.0})
    assert first.refused == {"c": "c is not for this box"}
    assert first.explain() == (
        "engine auto: b (a 3.00 ms, b 2.00 ms; c: c is not for this box; measured now)"
    )
    again = choose_engine(FILE, ["a", "b", "c"], opened, "threads 1")
    assert asked == ["a", "b", "c"]
    assert again.explain().endswith("measured earlier on this machine)")
    assert (again.engine, again.milliseconds) == (first.engine, first.milliseconds)
    (kept,) = (own_cache / "engines").iterdir()
    assert json.loads(kept.read_text())["engine"] == "b"


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["a"]},
        {"setting": "threads 2"},
        {"path": FILE.with_name("mvg.onnx")},
    ],
    ids=["engines", "threads", "file"],
)
def test_other_engines_threads_or_files_are_measured_anew(monkeypatch, change):
    opened, asked = made_up({"a": 3.0, "b": 2.0}, monkeypatch)
    given = {"path": FILE, "names": ["a", "b"], "setting": "threads 1"}
    for one in (given, {**given, **change}):
        choose_engine(one["path"], one["names"], opened, one["setting"])
    assert len(asked) == 2 + len({**given, **change}["names"])


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"[" * 5000, b"\xff" * 20),
        *(b'{"format": 1}', b'{"format": 1, "engine": "x"}'),
        b'{"format":1,"engine":"a","milliseconds":{"a":"x","b":1},"refused":{}}',
        b'{"format":1,"engine":"z","milliseconds":{"a":1,"b":1},"refused":{}}',
    ],
)
def test_a_broken_memory_is_measured_anew_and_replaced(monkeypatch, own_cache, content):
    opened, asked = made_up({"a": 3.0, "b": 2.0}, monkeypatch)
    choose_engine(FILE, ["a", "b"], opened, "")
    (kept,) = (own_cache / "engines").iterdir()
    kept.write_bytes(content)
    assert choose_engine(FILE, ["a", "b"], opened, "").engine == "b"
    assert asked == ["a", "b", "a", "b"]
    assert json.loads(kept.read_text())["engine"] == "b"


def test_a_box_without_room_to_remember_goes_without(monkeypatch, tmp_path):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(tmp_path / "taken" / "below"))
    opened, asked = made_up({"a": 3.0}, monkeypatch)
    assert choose_engine(FILE, ["a"], opened, "").engine == "a"
    assert choose_engine(FILE, ["a"], opened, "").engine == "a"
    assert asked == ["a", "a"]


def test_a_file_that_no_engine_reproduces_is_refused_with_each_reason(monkeypatch):
    opened, _ = made_up({}, monkeypatch, refused=["a", "b"])
    with pytest.raises(ModelFileError, match="a: a is not for this box; b: b is not for this box"):
        choose_engine(FILE, ["a", "b"], opened, "")


def test_auto_judges_as_the_engine_it_names(monkeypatch):
    model = EdgeModel(FILE, engine="auto", threads=1)
    choice = model.engine_choice
    assert set(choice.milliseconds) | set(choice.refused) == set(engines.quick_to_open())
    assert "onnxruntime" in choice.milliseconds
    named = EdgeModel(FILE, engine=choice.engine, threads=1)
    assert named.engine_choice is None
    assert model.engine == named.engine
    assert model.predict(FRAME).score == named.predict(FRAME).score
    copied = pickle.loads(pickle.dumps(model))
    assert copied.engine == model.engine
    assert EdgeModel(FILE, engine="auto", threads=1).engine_choice.remembered


@pytest.mark.skipif(not find_spec("openvino"), reason="OpenVINO is not installed")
def test_auto_takes_no_engine_that_only_its_rounding_excuses(monkeypatch):
    class Coarse(openvino_engine.OpenVinoEngine):
        def __init__(self, *args, **options):
            super().__init__(*args, **{**options, "precision": "f32"})
            self.rounding = 20.0

        def run(self, prepared):
            found = super().run(prepared)
            return found._replace(score=found.score * np.float32(1.01))

    monkeypatch.setattr(engines, "OpenVinoEngine", Coarse)
    assert EdgeModel(FILE, engine="openvino-bf16", threads=1).threads == 1
    choice = EdgeModel(FILE, engine="auto", threads=1).engine_choice
    assert "more than the 1e-03" in choice.refused["openvino-bf16"]


@pytest.mark.parametrize("engine", providers.NAMES)
def test_an_engine_that_this_build_lacks_is_an_error(engine):
    if engine == "cuda" and "cuda" in engines.quick_to_open():
        pytest.skip("this build has it")
    with pytest.raises(SettingsError, match=f"engine {engine}: this ONNX Runtime has no") as told:
        EdgeModel(FILE, engine=engine)
    assert "onnxruntime-gpu" in str(told.value)


class Pretends:
    """An ONNX Runtime that says it has providers; sessions go on with the processor."""

    asked = ()

    def __init__(self, real, fails=None):
        self.real, self.fails = real, fails

    def __getattr__(self, name):
        return getattr(self.real, name)

    def get_available_providers(self):
        return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]

    def InferenceSession(self, path, options, providers):  # noqa: N802
        type(self).asked = providers
        if self.fails:
            raise RuntimeError(self.fails)
        return self.real.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.fixture
def pretended(monkeypatch):
    def pretend(fails=None):
        found = Pretends(onnxruntime_engine.import_onnxruntime(), fails)
        for module in (onnxruntime_engine, providers):
            monkeypatch.setattr(module, "import_onnxruntime", lambda: found)
        return found

    return pretend


@pytest.mark.parametrize("fails", [None, "libcudart.so.12: no such file"])
@pytest.mark.parametrize("engine", providers.NAMES)
def test_a_provider_that_does_not_start_is_an_error_and_never_the_processor(
    pretended, engine, fails
):
    pretended(fails)
    with pytest.raises(SettingsError, match=f"the engine {engine} does not start here") as told:
        EdgeModel(FILE, engine=engine, threads=1)
    assert (fails or "NVIDIA") in str(told.value)


@pytest.mark.parametrize(
    ("engine", "given", "expected"),
    [
        ("cuda", {"device_id": 1}, {"device_id": "1", "use_tf32": "0"}),
        ("cuda", {"use_tf32": 1}, {"use_tf32": "1"}),
        ("tensorrt-fp16", None, {"trt_fp16_enable": "True", "trt_engine_cache_enable": "True"}),
        ("tensorrt", {"trt_max_workspace_size": 2**30}, {"trt_max_workspace_size": "1073741824"}),
    ],
)
def test_providers_get_the_usual_options_and_those_of_the_user(pretended, engine, given, expected):
    pretended()
    with pytest.raises(SettingsError):
        EdgeModel(FILE, engine=engine, threads=1, engine_options=given)
    (_, options), last = Pretends.asked
    assert last == "CPUExecutionProvider"
    assert expected.items() <= options.items()


def test_tensorrt_keeps_what_it_builds_in_a_folder_of_the_file(pretended, own_cache):
    pretended()
    for path in (FILE, FILE.with_name("mvg.onnx"), FILE):
        with pytest.raises(SettingsError):
            EdgeModel(path, engine="tensorrt", threads=1)
        folder = Path(Pretends.asked[0][1]["trt_engine_cache_path"])
        assert folder.parent == own_cache / "tensorrt"
    assert len(os.listdir(own_cache / "tensorrt")) == 2


@pytest.mark.parametrize("engine", ["onnxruntime", "auto"])
def test_options_for_an_engine_that_takes_none_are_refused(engine):
    with pytest.raises((SettingsError, ModelFileError), match="takes no options"):
        EdgeModel(FILE, engine=engine, threads=1, engine_options={"device_id": 1})


@pytest.mark.parametrize(("spins", "expected"), [(True, "1"), (False, "0")])
def test_spinning_is_what_was_asked_for_also_in_copies(spins, expected):
    model = EdgeModel(FILE, threads=2, allow_spinning=spins)
    for one in (model, pickle.loads(pickle.dumps(model))):
        options = one._engine._session.get_session_options()
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == expected
        assert one.predict(FRAME).score == model.predict(FRAME).score


@pytest.mark.parametrize("wrong", ["no", 1, None])
def test_spinning_is_yes_or_no(wrong):
    with pytest.raises(SettingsError, match=r"allow_spinning is .*; choose True or False"):
        EdgeModel(FILE, allow_spinning=wrong)


@pytest.mark.skipif(not find_spec("openvino"), reason="OpenVINO is not installed")
def test_bfloat16_on_a_processor_without_it_is_an_error(monkeypatch):
    class Compiled:
        def get_property(self, name):
            return "<Type: 'float32'>"

    with pytest.raises(SettingsError, match="no bfloat16 arithmetic"):
        openvino_engine._require_bf16(Compiled())
