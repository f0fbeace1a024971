"""Small scorers that the contract is proven with: each is one class, and nothing else."""

import hashlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from anomalib_lite.scorers import Scorer, Scores
from anomalib_lite.scorers.training.loop import (
    Budget,
    Shuffled,
    Training,
    held_back,
    train,
    usable_images,
)
from anomalib_lite.system.seeding import seeded


class Toy(Scorer):
    """Distance to the mean map of the good images."""

    name = "toy"

    def __init__(self, power=2.0):
        super().__init__()
        self.power = power

    def fit(self, stream, context):
        layer = self.layout.layers[0].name
        maps = torch.cat([batch.features.maps[layer] for batch in stream])
        self.register_buffer("mean_", maps.mean(dim=0))

    def forward(self, features):
        away = (features.maps[self.layout.layers[0].name] - self.mean_).abs() ** self.power
        grid = away.mean(dim=1)
        return Scores(grid.amax(dim=(1, 2)), grid)


class Phrases(Scorer):
    """How much nearer a place is to the phrases for bad parts than to those for good ones.

    Stands in for a text tower: an embedding is drawn from its phrase. Computed once, at fit.
    """

    name = "phrases"
    embedded = 0

    def __init__(self, good=("a part",), bad=("a scratched part", "a part with a hole")):
        super().__init__()
        self.good, self.bad = list(good), list(bad)

    def fit(self, stream, context):
        layer = self.layout.layers[0]
        self.register_buffer("text_", self.embed([*self.good, *self.bad], layer.channels))
        maps = torch.cat([batch.features.maps[layer.name] for batch in stream])
        self.register_buffer("centre_", maps.mean(dim=(0, 2, 3)))

    def embed(self, phrases, width):
        Phrases.embedded += len(phrases)
        rows = []
        for phrase in phrases:
            digest = hashlib.sha256(phrase.encode()).digest()
            rng = np.random.default_rng(list(digest))
            rows.append(torch.from_numpy(rng.standard_normal(width)).float())
        return F.normalize(torch.stack(rows), dim=1)

    def forward(self, features):
        maps = features.maps[self.layout.layers[0].name] - self.centre_[:, None, None]
        near = torch.einsum("nchw,pc->nphw", F.normalize(maps, dim=1), self.text_)
        good, bad = near[:, : len(self.good)], near[:, len(self.good) :]
        grid = bad.amax(dim=1) - good.amax(dim=1)
        return Scores(grid.amax(dim=(1, 2)), grid)


class DefectNet(Scorer):
    """A small network that tells simulated defects from good images; sees pixels only."""

    name = "defect_net"

    def __init__(self, steps=40, rate=0.03):
        super().__init__()
        self.steps, self.rate = steps, rate

    def default_backbone(self):
        return "pixels", None

    def build(self, layout):
        super().build(layout)
        with seeded():
            self.net = nn.Sequential(
                nn.Conv2d(3, 8, 4, 4),
                nn.LeakyReLU(0.2),
                nn.Conv2d(8, 1, 1),
            )
        self.net.requires_grad_(False)

    def fit(self, stream, context):
        self.build(self.layout)
        usable, digest = usable_images(stream, context)
        trained, held_out = held_back(usable, 0.2, context.seed)
        batches = stream.batches(4, Shuffled(trained, context.seed).endless(0))

        def loss_of(batch, seed):
            batch = half_defective(batch, seed)
            logits = self.net(batch.features.pixels).amax(dim=(1, 2, 3))
            labels = torch.from_numpy(batch.labels).float()
            return F.binary_cross_entropy_with_logits(logits, labels)

        def held_out_loss():
            watched = list(stream.batches(4, held_out))
            return sum(float(loss_of(batch, [7])) for batch in watched) / len(watched)

        self.net.requires_grad_(True)
        optimiser = torch.optim.Adam(self.net.parameters(), lr=self.rate)
        identity = {"detector": self.name, "settings": self.settings(), "images": digest}
        training = Training(
            self.net,
            optimiser,
            lambda step: loss_of(next(batches), [context.seed, step]),
            held_out_loss,
            identity,
        )
        state = train(training, Budget(self.steps), context)
        self.stopped_early = not state.finished
        self.register_buffer("losses_", torch.tensor([loss for _, loss in state.curve]))
        self.net.requires_grad_(False)

    def forward(self, features):
        grid = self.net(features.pixels)[:, 0]
        return Scores(grid.amax(dim=(1, 2)), grid)


def half_defective(batch, seed):
    """The batch with a magenta spot on every other image, where the seed says: label 1."""
    frames = batch.frames.numpy()
    rng = np.random.default_rng([*seed, *batch.indices.tolist()])
    labels = rng.permutation(np.arange(len(frames)) % 2)
    changed = frames.copy()
    for place in np.flatnonzero(labels):
        row, column = rng.integers(0, frames.shape[1] - 10, 2)
        changed[place, row : row + 10, column : column + 10] = (230, 20, 200)
    return batch.changed(torch.from_numpy(changed), labels)
