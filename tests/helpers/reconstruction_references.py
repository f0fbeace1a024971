"""DRAEM as its paper and code say it, slow and literal, in float64: numbers to compare with."""

import math

import numpy as np
import torch
import torch.nn.functional as F

EPSILON, ADAM_EPSILON = 1e-5, 1e-8


def gaussian_window():
    """The weights of 11 by 11 neighbours."""
    weights = [
        [math.exp(-(i * i + j * j) / (2 * 1.5**2)) for j in range(-5, 6)] for i in range(-5, 6)
    ]
    return np.array(weights) / np.sum(weights)


def ssim_of_a_channel(one, other):
    """Pixel by pixel; `(H, W)` in 0..1, zeros around them."""
    window = gaussian_window()
    found = np.empty(one.shape)
    x, y = np.pad(one, 5), np.pad(other, 5)
    for row, column in np.ndindex(one.shape):
        a, b = x[row : row + 11, column : column + 11], y[row : row + 11, column : column + 11]
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        spread_a = (window * a * a).sum() - mean_a**2
        spread_b = (window * b * b).sum() - mean_b**2
        common = (window * a * b).sum() - mean_a * mean_b
        found[row, column] = ((2 * mean_a * mean_b + 0.01**2) * (2 * common + 0.03**2)) / (
            (mean_a**2 + mean_b**2 + 0.01**2) * (spread_a + spread_b + 0.03**2)
        )
    return found


def focal_of_a_pixel(good, defective, is_defective):
    """Gamma 2, labels smoothed by 1e-5."""
    label = [1e-5, 1 - 1e-5] if is_defective else [1 - 1e-5, 1e-5]
    truth = label[0] * good + label[1] * defective + 1e-5
    return -((1 - truth) ** 2) * math.log(truth)


def peak_of_means(anomaly_map):
    """The largest mean of 21 by 21 pixels, zeros beyond the border counted."""
    padded = np.pad(anomaly_map, 10)
    return max(
        padded[row : row + 21, column : column + 21].mean()
        for row, column in np.ndindex(anomaly_map.shape)
    )


class LiteralDraem:
    """Both networks by the names of their weights, with the statistics of the batch.

    Args:
        state: float64 tensors by the names that `DraemNetworks.state_dict` has for them.
        training: batch norm takes the batch's own statistics.
    """

    def __init__(self, state, *, training):
        self.state, self.training = state, training

    def __call__(self, picture):
        drawn = self.reconstructive(picture)
        return drawn, self.discriminative(torch.cat([drawn, picture], 1))

    def reconstructive(self, maps):
        name = "reconstructive"
        for level in range(5):
            maps = F.max_pool2d(maps, 2) if level else maps
            maps = self.pair(f"{name}.encoder.levels.{level}", maps)
        for stage in range(4):
            maps = self.pair(f"{name}.stages.{stage}", self.unit(f"{name}.ups.{stage}", up(maps)))
        return self.convolution(f"{name}.head", maps)

    def discriminative(self, maps):
        name = "discriminative"
        levels = []
        for level in range(6):
            maps = F.max_pool2d(maps, 2) if level else maps
            maps = self.pair(f"{name}.encoder.levels.{level}", maps)
            levels.append(maps)
        for stage, skip in enumerate((4, 3, 2, 1, 0)):
            maps = torch.cat([self.unit(f"{name}.ups.{stage}", up(maps)), levels[skip]], 1)
            maps = self.pair(f"{name}.stages.{stage}", maps)
        return self.convolution(f"{name}.head", maps)

    def pair(self, name, maps):
        return self.unit(f"{name}.1", self.unit(f"{name}.0", maps))

    def unit(self, name, maps):
        maps = self.convolution(f"{name}.conv", maps)
        if self.training:
            mean, spread = maps.mean((0, 2, 3)), maps.var((0, 2, 3), correction=0)
        else:
            mean = self.state[f"{name}.norm.running_mean"]
            spread = self.state[f"{name}.norm.running_var"]
        normal = (maps - mean[:, None, None]) / (spread[:, None, None] + EPSILON).sqrt()
        weight, bias = self.state[f"{name}.norm.weight"], self.state[f"{name}.norm.bias"]
        return (normal * weight[:, None, None] + bias[:, None, None]).clamp(min=0)

    def convolution(self, name, maps):
        return F.conv2d(maps, self.state[f"{name}.weight"], self.state[f"{name}.bias"], padding=1)


def up(maps):
    return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=True)


def literal_loss(networks, clean, changed, masks):
    """MSE + (1 - SSIM) + focal; pictures `(N, 3, H, W)`, masks `(N, H, W)`, all float64."""
    drawn, logits = networks(changed)
    squares = ((drawn - clean) ** 2).mean()
    window = torch.from_numpy(gaussian_window()).expand(3, 1, 11, 11)

    def local(values):
        return F.conv2d(values, window, padding=5, groups=3)

    mean_a, mean_b = local(drawn), local(clean)
    spread_a, spread_b = local(drawn**2) - mean_a**2, local(clean**2) - mean_b**2
    common = local(drawn * clean) - mean_a * mean_b
    ssim = ((2 * mean_a * mean_b + 0.01**2) * (2 * common + 0.03**2)) / (
        (mean_a**2 + mean_b**2 + 0.01**2) * (spread_a + spread_b + 0.03**2)
    )
    likely = logits.softmax(1)
    labels = torch.stack([1 - masks, masks], 1).clamp(1e-5, 1 - 1e-5)
    truth = (labels * likely).sum(1) + 1e-5
    focal = -((1 - truth) ** 2) * truth.log()
    return squares + (1 - ssim.mean()) + focal.mean()


def after_one_step_of_adam(values, gradients, rate):
    """Its first step: both moments are of one gradient, so their corrections cancel."""
    return {
        name: values[name] - rate * gradient / (gradient.abs() + ADAM_EPSILON)
        for name, gradient in gradients.items()
    }
