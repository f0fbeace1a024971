"""MuSc as plain as it can be written: float64, every distance, no blocks."""

import numpy as np


def normalised(maps):
    """Whole-map layer normalisation of one image `(C, h, w)`."""
    return (maps - maps.mean()) / np.sqrt(maps.var() + 1e-5)


def tokens(maps, degree, inside):
    """Unit vectors of the cells inside, `(P, C)`."""
    channels, height, width = maps.shape
    reach = degree // 2
    padded = np.zeros((channels, height + 2 * reach, width + 2 * reach))
    padded[:, reach : reach + height, reach : reach + width] = normalised(maps)
    rows = []
    for y in range(height):
        for x in range(width):
            if inside[y, x]:
                mean = padded[:, y : y + degree, x : x + degree].mean(axis=(1, 2))
                rows.append(mean / np.linalg.norm(mean))
    return np.array(rows)


def layer_scores(maps, degree, interval, inside):
    """Mean of the lowest distances of each token, `(N, P)`."""
    found = [tokens(item, degree, inside) for item in maps]
    scores = []
    for i, own in enumerate(found):
        nearest = [
            np.linalg.norm(own[:, None] - other[None], axis=2).min(axis=1)
            for j, other in enumerate(found)
            if j != i
        ]
        kept = max(1, int(np.floor(interval * len(nearest) + 1e-9)))
        scores.append(np.sort(np.array(nearest), axis=0)[:kept].mean(axis=0))
    return np.array(scores)


def pool_maps(layers, degrees, interval, inside):
    """Map of each image `(N, h, w)` of layers that share one grid, each `(N, C, h, w)`."""
    total = 0.0
    for maps in layers:
        for degree in degrees:
            scores = layer_scores(maps.astype(np.float64), degree, interval, inside)
            total = total + scores / len(degrees) / len(layers)
    placed = np.zeros((len(layers[0]), *inside.shape))
    placed[:, inside] = total
    return placed


def rscin(scores, embeddings, neighbours):
    """Image scores smoothed over the most similar images."""
    scaled = (scores - scores.min()) / (scores.max() - scores.min())
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = unit @ unit.T
    result = np.zeros(len(scores))
    for count in neighbours:
        for i, row in enumerate(cosines):
            best = np.argsort(-row)[:count]
            result[i] += (row[best] / row[best].sum()) @ scaled[best]
    return result / len(neighbours)
