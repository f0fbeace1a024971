"""Where weights come from, in which order, and what is refused."""

import time

import pytest
import torch
from safetensors.torch import save_file

from anomalib_lite.backbones import create_backbone
from anomalib_lite.backbones.weights import digest_tensors, find_weights, fit_weights
from anomalib_lite.edge import WeightsError
from anomalib_lite.edge.files import sha256_file

SIZE = {"input_hw": (32, 32)}
LAYERS = {"layers": ["layer1"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A weights folder with a made-up resnet18 that holds only its first layers."""
    path = tmp_path_factory.mktemp("weights")
    net = create_backbone("resnet18", weights="random", **LAYERS, **SIZE).net
    torch.manual_seed(5)
    state = {
        name: torch.randn_like(value) if value.is_floating_point() else value
        for name, value in net.state_dict().items()
    }
    save_file(state, path / "resnet18.safetensors")
    return path


def build(**options):
    return create_backbone("resnet18", **LAYERS, **SIZE, **options)


def test_an_explicit_file_comes_before_the_folder(folder, tmp_path, monkeypatch):
    other = tmp_path / "mine.safetensors"
    other.write_bytes((folder / "resnet18.safetensors").read_bytes())
    monkeypatch.setenv("ANOMALIB_LITE_WEIGHTS", str(folder))
    assert find_weights("resnet18", other) == other
    assert find_weights("resnet18", None) == folder / "resnet18.safetensors"
    assert find_weights("resnet34", None) is None
    monkeypatch.delenv("ANOMALIB_LITE_WEIGHTS")
    assert find_weights("resnet18", None) is None


@pytest.mark.parametrize("by", ["folder", "file"])
def test_weights_are_loaded_and_their_digest_kept(folder, by, monkeypatch):
    path = folder / "resnet18.safetensors"
    if by == "folder":
        monkeypatch.setenv("ANOMALIB_LITE_WEIGHTS", str(folder))
    backbone = build(weights=None if by == "folder" else path)
    assert backbone.weights_sha256 == sha256_file(path)
    random = build(weights="random")
    assert random.weights_sha256 == "random"
    assert not torch.equal(backbone.net.conv1.weight, random.net.conv1.weight)


def test_real_weights_fit(shared_weights, monkeypatch):
    monkeypatch.setenv("ANOMALIB_LITE_WEIGHTS", str(shared_weights))
    for path in sorted(shared_weights.glob("*.safetensors")):
        name = path.stem
        backbone = create_backbone(name, input_hw=(64, 96))
        assert backbone.weights_sha256 == sha256_file(shared_weights / f"{name}.safetensors")
        with torch.no_grad():
            maps = backbone(torch.zeros(1, 3, 64, 96)).maps
        assert all(torch.isfinite(value).all() for value in maps.values())


def test_weights_of_another_network_are_refused(folder):
    with pytest.raises(WeightsError) as caught:
        create_backbone(
            "mobilenetv2_100", weights=folder / "resnet18.safetensors", input_hw=(32, 32)
        )
    message = str(caught.value)
    assert "does not fit mobilenetv2_100" in message
    assert "check that the file is for mobilenetv2_100" in message
    assert "\n" not in message


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ""])
def test_pickled_weights_are_never_opened(tmp_path, suffix):
    path = tmp_path / f"resnet18{suffix}"
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"only \.safetensors weights are read"):
        build(weights=path)


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\xff" * 100])
def test_unreadable_weights_are_one_line(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"is not a readable \.safetensors file") as caught:
        build(weights=path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match=r"none\.safetensors: no such weights file"):
        build(weights=tmp_path / "none.safetensors")
    monkeypatch.setenv("ANOMALIB_LITE_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match="nowhere: no such folder"):
        build()


@pytest.mark.parametrize("place", ["unset", "folder"])
def test_without_weights_and_network_the_error_is_quick_and_says_what_to_do(
    place, tmp_path, monkeypatch
):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    if place == "unset":
        monkeypatch.delenv("ANOMALIB_LITE_WEIGHTS", raising=False)
        where = "ANOMALIB_LITE_WEIGHTS is not set"
        todo = "set it to a folder that holds resnet34.safetensors"
    else:
        monkeypatch.setenv("ANOMALIB_LITE_WEIGHTS", str(tmp_path))
        where = f"{tmp_path} (ANOMALIB_LITE_WEIGHTS) has no resnet34.safetensors"
        todo = "put resnet34.safetensors there"
    before = constants.HF_HUB_OFFLINE
    started = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        create_backbone("resnet34", **SIZE)
    assert time.monotonic() - started < 10
    message = str(caught.value)
    assert f"no weights for resnet34: {where}, and the model hub cannot be reached" in message
    assert f"{todo}, give --weights FILE, or use the backbone 'pdn_edge'" in message
    assert "\n" not in message
    assert before == constants.HF_HUB_OFFLINE


def test_a_file_that_lacks_what_is_read_is_refused_with_a_few_names(folder):
    with pytest.raises(WeightsError) as caught:
        create_backbone(
            "resnet18",
            layers=["layer1", "layer2"],
            weights=folder / "resnet18.safetensors",
            **SIZE,
        )
    message = str(caught.value)
    assert "(layer2.0.conv1.weight is missing, layer2.0.bn1.weight is missing, " in message
    assert message.count("is missing") == 3
    assert "reaches as deep as the layers that are read" in message


def test_names_are_compared_without_separators_and_extras_are_ignored():
    target = torch.nn.Module()
    target.stages_0 = torch.nn.Linear(2, 2)
    state = {
        "stages.0.weight": torch.ones(2, 2),
        "stages.0.bias": torch.zeros(2),
        "head.weight": torch.ones(9, 9),
    }
    fit_weights(target, state, name="net", origin="file")
    assert torch.equal(target.stages_0.weight, torch.ones(2, 2))
    state["stages.0.bias"] = torch.zeros(3)
    with pytest.raises(WeightsError, match=r"1 of 2 tensors .* \(stages_0\.bias is 3, not 2\)"):
        fit_weights(target, state, name="net", origin="file")


def test_a_digest_depends_on_names_and_values():
    tensors = {"a": torch.ones(2), "b": torch.zeros(2)}
    base = digest_tensors(tensors)
    assert base == digest_tensors(dict(reversed(tensors.items())))
    assert base != digest_tensors({**tensors, "b": torch.ones(2)})
    assert base != digest_tensors({"a": torch.ones(2), "c": torch.zeros(2)})
