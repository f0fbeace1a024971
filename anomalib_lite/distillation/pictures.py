"""Pictures to distil on: folders, procedural pictures, or both; crops that vary strongly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.pictures import draw_marks, procedural_picture
from anomalib_lite.data.pictures.fine import fine_texture
from anomalib_lite.edge.errors import FrameError, SourceError
from anomalib_lite.edge.sources import Job, SourceLike, open_source
from anomalib_lite.scorers.base import Progress, no_progress

PROCEDURAL_SIDE = 256
_SMALLEST = 48
_HELD_OUT = 20  # every twentieth picture measures the error and is never trained on


class PicturePool:
    """Pictures in memory, uint8 RGB, shrunk so that their shorter side is at most `side`.

    Args:
        sources: folders, globs or lists of images; each gets the same share of the crops.
        procedural: number of procedural pictures, another source of the same rank.
        fine: number of fine regular textures, one more.
        side: pixels.
        seed: of the drawn pictures.
        progress: called while they are read and drawn.

    Attributes:
        groups: pictures by source.
        procedural: how many of them are drawn, fine textures included.
        skipped: image name -> why it is not used.

    Raises:
        SourceError: nothing to read.
    """

    def __init__(
        self,
        sources: Sequence[SourceLike],
        *,
        procedural: int = 0,
        fine: int = 0,
        side: int = 288,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> None:
        self.skipped: dict[str, str] = {}
        self.procedural = procedural + fine
        self.groups = [self._read(source, side, progress) for source in sources]
        if procedural:
            self.groups.append(draw_pictures(procedural_picture, procedural, seed, progress))
        if fine:
            self.groups.append(draw_pictures(fine_texture, fine, seed, progress))
        self.groups = [group for group in self.groups if group]
        if not self.groups:
            raise SourceError(
                "no picture to learn from; give a folder or procedural pictures",
                reasons=self.skipped,
            )

    @property
    def bytes(self) -> int:
        """Memory that the pictures take."""
        return sum(picture.nbytes for group in self.groups for picture in group)

    def draw(self, rng: np.random.Generator, side: int, *, held_out: bool) -> NDArray[np.uint8]:
        """A varied crop `(side, side, 3)` of a random picture, one group as likely as another."""
        group = self.groups[rng.integers(len(self.groups))]
        count = max(1, len(group) // _HELD_OUT)
        if held_out or len(group) <= count:
            picture = group[rng.integers(count)]
        else:
            picture = group[rng.integers(count, len(group))]
        return vary(rng, random_crop(rng, picture, side))

    def batch(self, seed: Sequence[int], count: int, side: int, *, held_out: bool = False) -> Batch:
        """Crops `(count, side, side, 3)`; the same seed gives the same crops."""
        rngs = [np.random.default_rng([*seed, index]) for index in range(count)]
        return np.stack([self.draw(rng, side, held_out=held_out) for rng in rngs])

    def _read(self, source: SourceLike, side: int, progress: Progress) -> list[Picture]:
        opened = open_source(source)
        jobs = list(opened.jobs())
        pictures = []
        with ThreadPoolExecutor(2) as pool:
            for done, (job, result) in enumerate(
                zip(jobs, pool.map(lambda job: _load(job, side), jobs), strict=True)
            ):
                if isinstance(result, str):
                    self.skipped[job.name] = result
                else:
                    pictures.append(result)
                progress(f"reading {opened.name}", done + 1, len(jobs))
        return pictures


Picture = NDArray[np.uint8]
Batch = NDArray[np.uint8]


def draw_pictures(
    draw: Callable[[np.random.Generator, tuple[int, int]], Picture],
    count: int,
    seed: int,
    progress: Progress = no_progress,
) -> list[Picture]:
    """So many drawn pictures, square."""
    pictures = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        pictures.append(draw(rng, (PROCEDURAL_SIDE, PROCEDURAL_SIDE)))
        progress("drawing pictures", index + 1, count)
    return pictures


def random_crop(rng: np.random.Generator, picture: Picture, side: int) -> Picture:
    """A square of random size and place, resized; turned and mirrored at random."""
    height, width = picture.shape[:2]
    smallest = min(_SMALLEST, height, width)
    cut = int(np.exp(rng.uniform(np.log(smallest), np.log(min(height, width)))))
    # Crops near their own scale are most of what a camera gives: half of them are large.
    cut = max(cut, int(rng.uniform(0, min(height, width)))) if rng.random() < 0.5 else cut
    top, left = rng.integers(height - cut + 1), rng.integers(width - cut + 1)
    crop = picture[top : top + cut, left : left + cut]
    way = cv2.INTER_AREA if cut > side else cv2.INTER_LINEAR
    crop = np.asarray(cv2.resize(crop, (side, side), interpolation=way), np.uint8)
    crop = np.rot90(crop, int(rng.integers(4)))
    return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)


def vary(rng: np.random.Generator, crop: Picture) -> Picture:
    """Light, colour, grey, focus, noise, and small drawn marks."""
    if rng.random() < 0.3:
        crop = draw_marks(rng, crop)
    values = crop.astype(np.float32) / 255
    if rng.random() < 0.3:
        values = np.repeat(values @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=2)
    elif rng.random() < 0.3:
        values = values * rng.uniform(0.7, 1.2, 3).astype(np.float32)
    gain, shift = rng.uniform(0.5, 1.4), rng.uniform(-0.2, 0.2)
    middle = float(values.mean())
    values = np.clip((values - middle) * np.float32(gain) + np.float32(middle + shift), 0, 1)
    if rng.random() < 0.3:
        values = values ** np.float32(np.exp(rng.normal(0, 0.4)))
    if rng.random() < 0.2:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.3, 2))))
    if rng.random() < 0.3:
        noise = rng.standard_normal(values.shape, np.float32)
        values = values + np.float32(rng.uniform(0, 0.05)) * noise
    return (np.clip(values, 0, 1) * 255).round().astype(np.uint8)


def _load(job: Job, side: int) -> Picture | str:
    """The picture as 8-bit RGB, or why not."""
    try:
        frame = job.load()
    except FrameError as error:
        return str(error)
    if frame.dtype != np.uint8:
        frame = (frame >> 8).astype(np.uint8)
    if frame.ndim == 2:
        frame = np.repeat(frame[:, :, None], 3, axis=2)
    if frame.shape[2] == 1:
        frame = np.repeat(frame, 3, axis=2)
    frame = frame[:, :, :3]
    scale = side / min(frame.shape[:2])
    if scale < 1:
        size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
        frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(frame)
