"""Parts of a fusion that see layers of their own, over one backbone pass."""

import numpy as np
import pytest
import torch

from anomalib_lite import Detector
from anomalib_lite.edge import SettingsError
from anomalib_lite.edge.prepare import prepare
from anomalib_lite.scorers import create_scorer

SIDE = 64
NAME = "patchcore+mvg"
SETTINGS = {"patchcore.rows": 100, "trust": "equal"}


def fitted(frames, name=NAME, **options):
    options = {"backbone": "filters", "image_size": SIDE, **options}
    return Detector(name, **options).fit(frames)


@pytest.fixture(scope="module")
def fused(good_frames):
    return fitted(good_frames, **SETTINGS, **{"mvg.layers": "octave1, octave3"})


def test_each_part_sees_its_own_layers_and_the_others_the_shared_ones(good_frames):
    made = Detector(
        NAME,
        backbone="filters",
        layers=["octave2"],
        image_size=SIDE,
        **{"mvg.layers": ["octave3", "octave1"]},
    )
    assert made.backbone.layer_names == ["octave1", "octave2", "octave3"]
    seen = {part.name: [info.name for info in part.layout.layers] for part in made.scorer.scorers}
    assert seen == {"patchcore": ["octave2"], "mvg": ["octave1", "octave3"]}
    assert made.scorer.settings()["patchcore.layers"] == ["octave2"]


def test_only_what_some_part_sees_is_read():
    made = Detector(
        NAME,
        backbone="filters",
        image_size=SIDE,
        **{"mvg.layers": "octave1", "patchcore.layers": "octave2"},
    )
    assert made.backbone.layer_names == ["octave1", "octave2"]


def test_a_part_scores_as_it_does_alone_on_its_layers(fused, good_frames):
    alone = fitted(good_frames, "mvg", layers=["octave1", "octave3"])
    frames = torch.from_numpy(np.stack([prepare(item, alone.spec) for item in good_frames[:3]]))
    with torch.no_grad():
        features = fused.backbone(fused.backbone.normalise(frames))
        part = fused.scorer.scorers[1](features).image
        own = alone.backbone(alone.backbone.normalise(frames))
        torch.testing.assert_close(part, alone.scorer(own).image)


def test_layers_of_parts_are_kept_in_files(fused, good_frames, tmp_path):
    loaded = Detector.load(fused.save(tmp_path / "part.safetensors"))
    assert loaded.scorer.settings() == fused.scorer.settings()
    assert loaded.scorer.layers["mvg"] == ["octave1", "octave3"]
    assert loaded.predict(good_frames[0]).score == fused.predict(good_frames[0]).score
    report = fused.export(tmp_path / "part.onnx")
    assert report


def test_without_layers_of_parts_settings_are_as_they_were():
    scorer = create_scorer(NAME)
    assert scorer.read_layers(["a", "b"]) == ["a", "b"]
    assert not [key for key in scorer.settings() if key.endswith(".layers")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mvg.layers": 3}, r"mvg\.layers is 3; name layers, e\.g\. layer2,layer3"),
        ({"mvg.layers": ""}, "name layers"),
        ({"mvg.layers": []}, "name layers"),
        ({"knn.layers": "octave1"}, "has no setting 'knn.layers'"),
        ({"mvg.layers": "octave9"}, r"filters has no layer .*octave9"),
    ],
)
def test_what_names_no_layers_is_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        Detector(NAME, backbone="filters", image_size=SIDE, **settings)
