"""The contract carries what comes: text constants, another normalisation, training on defects.

Each scorer here is one class in a test file; fitting, files, export, edge and command line take it
as it is.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_scorers
from toy_scorers import DefectNet, Phrases, Toy, half_defective

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.edge import SettingsError
from anomalib_lite.edge.model_files.headers import read_header
from anomalib_lite.edge.prepare import prepare
from anomalib_lite.edge.sources import open_source
from anomalib_lite.metrics import auroc
from anomalib_lite.scorers import create_scorer, list_scorers, register_scorer, registry

SIDE = 64
CLIP = {"mean": (0.481, 0.458, 0.408), "std": (0.269, 0.261, 0.276)}
MADE = {
    "toy": {"backbone": "filters", "layers": ["octave2"]},
    "phrases": {
        "backbone": "filters",
        "layers": ["octave1"],
        "backbone_options": CLIP,
        "good": ["a clean flange"],
    },
    "defect_net": {},
}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The three are known by name during a test, and only then."""
    list_scorers()
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    for scorer in (Toy, Phrases, DefectNet):
        register_scorer(scorer)


@pytest.fixture(scope="module")
def fitted(good_frames):
    """Each fitted once."""
    kept = {}

    def fit(name):
        if name not in kept:
            kept[name] = Detector(name, image_size=SIDE, **MADE[name]).fit(good_frames)
        return kept[name]

    return fit


@pytest.mark.parametrize("name", MADE)
def test_it_is_fitted_saved_loaded_exported_and_checked(
    fitted, good_frames, scratched, tmp_path, name
):
    made = fitted(name)
    loaded = Detector.load(made.save(tmp_path / "d.safetensors"))
    assert loaded.scorer.settings() == made.scorer.settings()
    assert loaded.save(tmp_path / "e.safetensors").read_bytes() == (
        (tmp_path / "d.safetensors").read_bytes()
    )
    loaded.export(tmp_path / "d.onnx")
    edge = EdgeModel(tmp_path / "d.onnx")
    assert all(probe.passed for probe in edge.check())
    for frame in (*good_frames[:3], *scratched):
        expected = made.predict(frame)
        assert loaded.predict(frame).score == expected.score
        found = edge.predict(frame)
        assert found.score == pytest.approx(expected.score, rel=1e-3, abs=1e-4)
        assert found.is_anomalous == expected.is_anomalous
        np.testing.assert_allclose(found.network_map, expected.network_map, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", MADE)
def test_the_same_seed_gives_the_same_bytes(fitted, good_frames, tmp_path, name):
    again = Detector(name, image_size=SIDE, **MADE[name]).fit(good_frames)
    one = fitted(name).save(tmp_path / "a.safetensors").read_bytes()
    assert again.save(tmp_path / "b.safetensors").read_bytes() == one


def test_text_is_embedded_at_fit_and_never_again(fitted, good_frames, tmp_path):
    made = fitted("phrases")
    before = Phrases.embedded
    loaded = Detector.load(made.save(tmp_path / "d.safetensors"))
    loaded.predict(good_frames[0])
    loaded.export(tmp_path / "d.onnx")
    assert Phrases.embedded == before
    assert torch.equal(loaded.scorer.text_, made.scorer.text_)
    assert loaded.scorer.text_.shape[0] == 1 + 2


def test_the_normalisation_that_was_asked_for_is_in_every_file(fitted, good_frames, tmp_path):
    made = fitted("phrases")
    plain = Detector("phrases", image_size=SIDE, backbone="filters", layers=["octave1"])
    plain.fit(good_frames)
    frame = good_frames[0]
    assert plain.predict(frame).score != pytest.approx(made.predict(frame).score, rel=1e-3)
    made.export(tmp_path / "d.onnx")
    about = EdgeModel(tmp_path / "d.onnx").metadata.about["backbone"]
    assert about["options"] == {key: list(value) for key, value in CLIP.items()}


def test_what_is_trained_on_simulated_defects_tells_new_ones(fitted, good_frames):
    made = fitted("defect_net")
    losses = made.scorer.losses_
    assert float(losses[-1]) < 0.8 * float(losses[0])
    stream = ImageStream(open_source(good_frames), made.backbone, made.spec)
    batch = half_defective(next(stream.batches(12)), [99])
    scores = made.scorer(batch.features).image.numpy()
    assert auroc(scores, batch.labels) > 0.9


def test_a_scorer_that_looks_at_pixels_runs_no_network(fitted):
    assert sum(item.numel() for item in fitted("defect_net").backbone.parameters()) == 0


EVERY = {
    "mvg": {},
    "padim": {"num_features": 8},
    "patchcore": {"rows": 50},
    "knn": {},
    "gda": {},
    "musc": {"references": 3},
    "stfpm": {"steps": 1, "backbone": "pdn_edge"},
    "efficientad": {"steps": 1, "backbone": None},
    "draem": {"steps": 1, "batch_size": 2},
    "reconstruction": {"steps": 1},
    "patchcore+mvg": {"patchcore.rows": 50, "trust": "equal"},
    "toy": {},
    "phrases": {},
    "defect_net": {"steps": 1, "backbone": "pixels"},
}


@pytest.mark.parametrize("name", EVERY)
def test_settings_layout_and_tensors_are_all_of_a_fitted_scorer(name, good_frames):
    made = Detector(name, image_size=SIDE, **{"backbone": "filters", **EVERY[name]})
    before = made.scorer.settings()
    made.fit(good_frames[:9])
    assert made.scorer.settings() == before
    twin = create_scorer(name, **before)
    twin.build(made.scorer.layout)
    twin.load_tensors(made.scorer.state_dict())
    frames = torch.from_numpy(np.stack([prepare(frame, made.spec) for frame in good_frames[9:]]))
    with torch.no_grad():
        features = made.backbone(made.backbone.normalise(frames))
        one, other = made.scorer(features), twin.eval()(features)
    assert torch.equal(one.image, other.image)
    assert torch.equal(one.map, other.map)


PACKAGE = """
from toy_scorers import Toy

class Outside(Toy):
    name = "outside"
"""


def install(folder, module, target):
    """A package as pip leaves it: its module, and an entry point."""
    (folder / f"{module}.py").write_text(PACKAGE)
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[anomalib_lite.scorers]\noutside = {target}\n")


def test_a_package_of_somebody_else_adds_a_scorer_with_one_file(good_folder, tmp_path):
    site, out = tmp_path / "site", tmp_path / "x.safetensors"
    site.mkdir()
    install(site, "their_scorers", "their_scorers:Outside")
    helpers, package = Path(toy_scorers.__file__).parent, Path(registry.__file__).parents[2]
    command = [
        sys.executable, "-c", "from anomalib_lite.cli.main import run; run()",
        "fit", str(good_folder), "--out", str(out), "--detector", "outside",
        "--backbone", "filters", "--image-size", str(SIDE),
    ]  # fmt: skip
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (site, helpers, package)))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in site.glob("*.py")] == ["their_scorers.py"]
    assert read_header(out)["about"]["detector"]["name"] == "outside"


def test_a_package_that_cannot_be_loaded_is_named_where_its_scorer_is_missed(monkeypatch, tmp_path):
    install(tmp_path, "broken_scorers", "broken_scorers:Elsewhere")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_UNLOADED", {})
    registry._import_families.cache_clear()
    with pytest.raises(SettingsError, match="entry point outside: AttributeError: "):
        Detector("outside")
    assert Detector("mvg", backbone="filters").scorer.name == "mvg"


@pytest.mark.parametrize("name", ["", "a+b", "padim"])
def test_a_name_is_one_word_that_is_not_taken(name):
    taken = type("Taken", (Toy,), {"name": name})
    with pytest.raises(SettingsError, match=r"no name for a scorer|called 'padim' already"):
        register_scorer(taken)


def test_registering_a_class_again_is_no_clash():
    assert register_scorer(Toy) is Toy
