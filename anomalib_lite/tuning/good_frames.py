"""Good images that a choice is made on: read once, at one size, from which every trial prepares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.backbones import create_backbone
from anomalib_lite.data.grouping import AUTO
from anomalib_lite.data.simulate import simulate_among
from anomalib_lite.detector.chosen_frames import ChosenFrames
from anomalib_lite.detector.frame_looks import share_aspect
from anomalib_lite.detector.image_stream import ImageStream, require_rereadable
from anomalib_lite.detector.independence import GroupBy, chosen, look_through
from anomalib_lite.edge.errors import FitError, FrameError, telling_reasons
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.sources import Source, read_ahead
from anomalib_lite.statistics.spread import spread

FEWEST = 5
_LOOKED_AT = 12


@dataclass(frozen=True, eq=False)
class GoodFrames:
    """Good images at one reference size.

    Attributes:
        frames: uint8 `(N, H, W, 3)`, whole frames: no region of interest is cut out yet.
        origins: what each shows, equal for views of one part `(N,)`.
        frame_hw: size of the photographs, pixels.
        skipped: name of an image that cannot be used -> why.
    """

    frames: NDArray[np.uint8]
    origins: tuple[int, ...]
    frame_hw: tuple[int, int]
    skipped: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def scale(self) -> float:
        """Pixels of a reference frame for one of the photograph, geometric mean of both axes."""
        height, width = self.frames.shape[1:3]
        return float(np.sqrt(height * width / (self.frame_hw[0] * self.frame_hw[1])))

    def defects(
        self,
        indices: NDArray[np.int64],
        per_image: int,
        *,
        seed: int,
        inside: NDArray[np.bool_] | None = None,
        diameter_px: tuple[float, float] | None = None,
    ) -> Iterator[Frame]:
        """Simulated defects on some of the frames, the same for the same seed; kinds take turns.

        Args:
            indices: which frames.
            per_image: defects on each, one a picture.
            seed: draws them.
            inside: region of interest at the reference size, bool `(H, W)`.
            diameter_px: smallest and largest diameter, pixels of the reference frame; None takes
                4 to 40 % of its shorter side.
        """
        for place, index in enumerate(indices.tolist()):
            for number in range(per_image):
                turn, rng = place * per_image + number, np.random.default_rng([seed, index, number])
                yield simulate_among(
                    self.frames, index, turn, rng, inside, diameter_px=diameter_px
                ).frame


def of_reference(spec: InputSpec) -> InputSpec:
    """The preparation from a reference frame in place of the photograph."""
    return replace(spec, bit_depth=8, aspect=None, roi_aspect=None, coloured=False)


def look_at_sizes(source: Source) -> tuple[tuple[int, int], bool]:
    """Size of the first usable of a few frames `(rows, columns)`; whether all share its aspect.

    Raises:
        FitError: none of them can be used.
        SourceError: a live source.
    """
    require_rereadable(source)
    total = sum(1 for _ in source.jobs())
    picked = ChosenFrames(source, spread(total, _LOOKED_AT)) if total else source
    found: list[tuple[int, int]] = []
    skipped: dict[str, str] = {}
    for name, shape in read_ahead(picked.jobs(), lambda frame: frame.shape[:2], ahead=4):
        if isinstance(shape, FrameError):
            skipped[name] = str(shape).removeprefix(f"{name}: ")
        else:
            found.append((shape[0], shape[1]))
    if not found:
        with telling_reasons(skipped):
            raise FitError(f"{source.name}: no good image can be used")
    return found[0], share_aspect(found)


def read_good_frames(
    source: Source, spec: InputSpec, *, most: int, group_by: GroupBy = AUTO
) -> GoodFrames:
    """Read at most `most` images of a source, evenly spread, exact copies left out.

    Memory: `most` frames at the size of `spec`.

    Args:
        source: good images.
        spec: what the frames are declared to be, and the reference size.
        most: images to read.
        group_by: which images show one part, as for `Detector.fit`.

    Raises:
        FitError: fewer than 5 usable images, or fewer than 3 parts.
    """
    whole = replace(spec, roi=None, roi_aspect=None)
    stream = ImageStream(source, create_backbone("pixels", input_hw=spec.size_hw), whole)
    if len(stream) > most:
        picked = spread(len(stream), most)
        stream = ImageStream(ChosenFrames(source, picked), stream.backbone, whole)
        group_by = chosen(group_by, picked.tolist())
    with telling_reasons(stream.skipped):
        if len(stream) >= FEWEST:
            found = look_through(stream, group_by)
        if len(stream) < FEWEST or len(found.kept) < FEWEST:
            count = len(stream) if len(stream) < FEWEST else len(found.kept)
            raise FitError(
                f"{count} usable good images; a choice takes at least {FEWEST}: give more, or "
                "choose by hand (fit --image-size 256)"
            )
    kept = set(found.kept.tolist())
    frames = [np.asarray(frame) for index, frame in stream.prepared() if index in kept]
    origins = tuple(int(origin) for origin in found.origins[found.kept])
    return GoodFrames(np.stack(frames), origins, stream.looks.frame_hw, dict(stream.skipped))
