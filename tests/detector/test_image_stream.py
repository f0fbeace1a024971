"""Streams of frames: what a batch carries, and when the backbone runs."""

import numpy as np
import pytest
import torch

from anomalib_lite.backbones import create_backbone
from anomalib_lite.detector import image_stream
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.edge import FitError
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.sources import open_source
from anomalib_lite.scorers.batches import FrameBatch, NotedWeights

SIDE, IMAGES = 32, 10
WEIGHTS = np.array([1, 1, 1, 1, 1, 0.5, 1, 0, 1, 1], np.float64)
LABELS = np.arange(IMAGES) % 3


@pytest.fixture
def backbone(monkeypatch):
    made = create_backbone("filters", input_hw=(SIDE, SIDE))
    made.passes = 0
    extract = made.extract

    def counted(pixels):
        made.passes += 1
        return extract(pixels)

    monkeypatch.setattr(made, "extract", counted)
    return made


@pytest.fixture
def stream(backbone):
    frames = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8)
    return ImageStream(open_source(list(frames)), backbone, InputSpec(SIDE, SIDE))


@pytest.mark.parametrize("read", [iter, lambda stream: stream.batches(3)])
def test_the_backbone_runs_only_for_who_asks_for_features(stream, backbone, read):
    batches = list(read(stream))
    assert sum(len(batch) for batch in batches) == IMAGES
    assert batches[0].frames.dtype == torch.uint8
    assert batches[0].frames.shape[1:] == (SIDE, SIDE, 3)
    assert backbone.passes == 0
    assert batches[0].features is batches[0].features
    assert backbone.passes == 1


def test_features_of_a_batch_are_those_of_its_frames(stream, backbone):
    batch = next(iter(stream))
    expected = backbone(backbone.normalise(batch.frames))
    assert torch.equal(batch.features.pixels, expected.pixels)
    assert torch.equal(batch.features.maps["octave2"], expected.maps["octave2"])


def test_changed_frames_may_lie_between_whole_numbers(stream, backbone):
    frames = next(iter(stream)).frames
    found = stream.features(frames.float() + 0.25)
    expected = backbone.normalise(frames) + 0.25 * backbone.scale
    torch.testing.assert_close(found.pixels, expected)
    assert torch.equal(stream.features(frames.float()).pixels, backbone.normalise(frames))


def test_a_backbone_that_gives_nan_is_named(stream, backbone, monkeypatch):
    monkeypatch.setattr(backbone, "extract", lambda pixels: {"octave1": pixels * np.nan})
    batch = next(iter(stream))
    with pytest.raises(FitError, match="octave1 of filters gives NaN"):
        _ = batch.features


@pytest.mark.parametrize("order", [None, [7, 5, 7, 0, 9]])
def test_sample_weights_and_labels_follow_their_images(stream, order):
    stream.sample_weight, stream.labels = WEIGHTS, LABELS
    found = list(stream.batches(2, order))
    for batch in found:
        weights = np.ones(len(batch)) if batch.sample_weight is None else batch.sample_weight
        assert weights.tolist() == WEIGHTS[batch.indices].tolist()
        assert batch.labels.tolist() == LABELS[batch.indices].tolist()
    if order is not None:
        assert [item for batch in found for item in batch.indices.tolist()] == order


def test_a_narrowed_stream_keeps_them(stream):
    stream.sample_weight, stream.labels = WEIGHTS, LABELS
    (batch,) = stream.subset([5, 7, 8])
    assert batch.sample_weight.tolist() == [0.5, 0, 1]
    assert batch.labels.tolist() == [2, 1, 2]


def test_images_that_count_in_full_need_no_weights(stream):
    stream.sample_weight = WEIGHTS
    assert next(iter(stream)).sample_weight is None


@pytest.mark.parametrize(
    ("indices", "expected"), [([0, 1], None), ([0, 5], [1, 0.5]), ([7], [0]), ([], None)]
)
def test_weights_are_known_after_their_batch_has_passed(indices, expected):
    noted = NotedWeights()
    for chosen in (np.arange(5), np.arange(5, 10)):
        frames = torch.zeros(5, 1, 1, 3, dtype=torch.uint8)
        weights = None if (WEIGHTS[chosen] == 1).all() else WEIGHTS[chosen]
        noted.note(FrameBatch(frames, chosen, lambda _: None, sample_weight=weights))
    found = noted.of(np.array(indices, np.int64))
    assert (None if found is None else found.tolist()) == expected


@pytest.mark.parametrize("ready_bytes", [1 << 20, 1], ids=["in memory", "in a file"])
@pytest.mark.parametrize("full", [False, True], ids=["room", "no room"])
def test_a_look_decodes_every_image_once(backbone, monkeypatch, ready_bytes, full):
    frames = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8)
    source, loads = open_source(list(frames)), []

    class Counted:
        name, rereadable = "counted", True

        def __len__(self):
            return IMAGES

        def jobs(self):
            for job in source.jobs():
                yield job._replace(load=lambda job=job: loads.append(job.name) or job.load())

    def indices(read):
        return [int(index) for batch in read for index in batch.indices]

    monkeypatch.setattr(image_stream, "_READY_BYTES", ready_bytes)
    if full:
        monkeypatch.setattr(image_stream, "temporary_room", lambda size: False)
    stream = ImageStream(Counted(), backbone, InputSpec(SIDE, SIDE))
    plain = [batch.frames for batch in stream]
    loads.clear()
    stream.look()
    assert len(loads) == IMAGES
    assert indices(stream) == list(range(IMAGES))
    part = stream.subset([1, 4, 7])
    assert indices(part) == [1, 4, 7]
    assert indices(part.batches(2)) == [1, 4, 7]
    assert indices(part.batches(2, [7, 2, 1])) == [7, 1]
    assert torch.equal(torch.cat([batch.frames for batch in stream]), torch.cat(plain))
    assert (len(loads) == IMAGES) is not (full and ready_bytes == 1)
