"""A pool of unlabelled images judges itself: no good images, no training, no prompts.

The protocol is called batch-transductive: an image's score depends on the other images of its pool,
so scores of two pools cannot be compared, and a single new image has none. Verdicts say "stands out
of this pool", which is not "defective": when most of a pool has the same defect, the others stand
out.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, cast

import torch

from anomalib_lite.backbones import Backbone, create_backbone
from anomalib_lite.detector.chosen_frames import ChosenFrames
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.edge.errors import FrameError, SettingsError, telling_reasons
from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.edge.prediction import make_prediction
from anomalib_lite.edge.prepare import InputSpec, as_spec
from anomalib_lite.edge.runs.scoring import ScoredFrame
from anomalib_lite.edge.sources import Source, SourceLike, open_source, read_ahead
from anomalib_lite.scorers import FitContext, Progress, ScorePool, create_scorer
from anomalib_lite.scorers.base import no_progress
from anomalib_lite.scorers.mutual.pool_scores import PROTOCOL, PoolScores
from anomalib_lite.statistics.outliers import judge
from anomalib_lite.system.devices import AUTO, choose_device, put_module
from anomalib_lite.system.memory import require_memory
from anomalib_lite.system.versions import installed_versions
from anomalib_lite.transductive.pool_report import PoolReport, own_calibration

__all__ = ["PROTOCOL", "Pool", "PoolReport"]

CLASS_TOKEN = "class_token"
_AHEAD = 8
_SOURCE = "source.json"
_MINUTES_FROM_S = 120


class Pool:
    """Judges pools of images by themselves.

    Args:
        detector: a scorer that can (`musc`).
        backbone: `filters`, or any timm network; a vision transformer is best. None takes the
            scorer's default. One that is built already is taken as it is.
        layers: backbone layers; None takes its default and, of a transformer, the class token.
        weights: as for `Detector`.
        image_size: side or `(height, width)` of the network's input, pixels; or an `InputSpec`.
        seed: the one source of randomness.
        device: as for `Detector`; a backbone that is built already is moved there.
        settings: settings of the scorer.

    Raises:
        SettingsError: the device is not there, the scorer cannot judge pools, or a setting is
            unknown.
    """

    def __init__(
        self,
        detector: str = "musc",
        *,
        backbone: str | Backbone | None = None,
        layers: Sequence[str] | None = None,
        weights: str | Path | None = None,
        image_size: int | tuple[int, int] | InputSpec = 224,
        seed: int = 0,
        device: str | torch.device = AUTO,
        **settings: Any,
    ) -> None:
        chosen = choose_device(device)
        self.spec = as_spec(image_size)
        self.scorer = create_scorer(detector, **settings)
        if not self.scorer.can(ScorePool):
            raise SettingsError(f"{detector} cannot judge a pool by itself; choose musc")
        name, own_layers = self.scorer.default_backbone()
        if backbone is None:
            backbone, layers = name, layers or own_layers
        if isinstance(backbone, str):
            backbone = _with_class_token(backbone, layers, weights, self.spec.size_hw)
        self.backbone = backbone
        self.scorer.build(self.backbone.layout(self.spec.size_hw, self.spec.roi))
        self.seed = seed
        put_module(self.backbone, chosen)
        put_module(self.scorer, chosen)

    def needs(self, images: int) -> tuple[int, int]:
        """Estimated peak memory beside the network's own, and disk space, bytes."""
        return cast(ScorePool, self.scorer).pool_bytes(images)

    def cost(self, images: int) -> str:
        """What judging so many images takes, in words; times a few products on this machine."""
        memory, disk = self.needs(images)
        seconds = cast(ScorePool, self.scorer).pool_seconds(images)
        duration = f"{seconds:.0f} s" if seconds < _MINUTES_FROM_S else f"{seconds / 60:.0f} min"
        return (
            f"a pool of {images} images, each judged by the others: about {duration} of comparing "
            f"after the network, {memory / 1e6:.0f} MB of memory beside it, {disk / 1e6:.0f} MB of "
            "disk meanwhile"
        )

    def score(
        self,
        source: SourceLike,
        *,
        folder: Path | None = None,
        resume: bool = False,
        keep: bool = False,
        progress: Progress = no_progress,
    ) -> PoolReport:
        """Score every image by the others.

        Args:
            source: folder, glob, video, list of files or arrays; good and bad alike.
            folder: for what is kept on disk meanwhile; removed at the end. An interrupted run
                leaves it, and `resume` continues there. None takes a temporary folder.
            resume: continue an interrupted run.
            keep: leave the folder, small by then, until what is made of the report is safe: with
                `resume` nothing is computed again.
            progress: called with stage, items done, items in total.

        Raises:
            FitError: fewer than 2 usable images, too little memory, or a full disk.
            SettingsError: `resume` finds another pool in `folder`.
            SourceError: nothing to read, or a live source.
        """
        opened = open_source(source, exif=self.spec.exif)
        stream = ImageStream(opened, self.backbone, self.spec)
        require_memory(
            self.needs(max(2, len(stream)))[0],
            f"a pool of {len(stream)} images",
            "a smaller image size, fewer layers or a smaller pool",
        )
        if folder is not None:
            _same_source(opened, folder, resume=resume)
        context = FitContext(seed=self.seed, progress=progress, checkpoint=folder, resume=resume)
        with torch.no_grad(), telling_reasons(stream.skipped):
            scores = cast(ScorePool, self.scorer).score_pool(stream, context)
        report = self._report(opened, stream, cast(PoolScores, scores))
        if folder is not None and not keep:
            shutil.rmtree(folder, ignore_errors=True)
        return report

    def results(
        self, report: PoolReport, source: SourceLike, only: Sequence[int] | None = None
    ) -> Iterator[ScoredFrame]:
        """The frames of a judged source, or those at some places, with their results, in order."""
        opened = open_source(source, exif=self.spec.exif)
        row_of = {int(index): row for row, index in enumerate(report.scores.indices)}
        chosen = opened if only is None else ChosenFrames(opened, only)
        frames = read_ahead(chosen.jobs(), lambda frame: frame, ahead=_AHEAD)
        places = count() if only is None else iter(sorted(only))
        for position, (name, frame) in zip(places, frames, strict=False):
            row = row_of.get(position)
            if row is None or isinstance(frame, FrameError):
                reason = report.skipped.get(name, str(frame) if row is not None else "not judged")
                yield ScoredFrame(name, None, None, reason, PROTOCOL)
                continue
            prediction = make_prediction(
                float(report.scores.image[row]),
                report.scores.network_map(row),
                (frame.shape[0], frame.shape[1]),
                calibration=report.calibration,
                spec=self.spec,
            )
            yield ScoredFrame(name, frame, prediction, "", PROTOCOL)

    def _report(self, source: Source, stream: ImageStream, scores: PoolScores) -> PoolReport:
        names = [job.name for job in source.jobs()]
        used = set(scores.indices.tolist())
        unused = [index for index in range(len(names)) if index not in used]
        if unused and not stream.skipped:
            # Continued from features on disk: only those left out are read again, for the reason.
            for _ in stream.subset(unused).prepared():
                pass
        oddness = judge(scores.distances)
        return PoolReport(
            source.name,
            tuple(names[index] for index in scores.indices),
            scores,
            oddness,
            own_calibration(scores, oddness),
            dict(stream.skipped),
            self._facts(),
        )

    def _facts(self) -> dict[str, Any]:
        return {
            "protocol": PROTOCOL,
            "detector": {"name": self.scorer.name, "settings": self.scorer.settings()},
            "backbone": {
                **self.backbone.settings(),
                "weights_sha256": self.backbone.weights_sha256,
            },
            "input_spec": self.spec.to_dict(),
            "seed": self.seed,
            "versions": installed_versions(),
        }


def _with_class_token(
    name: str, layers: Sequence[str] | None, weights: str | Path | None, input_hw: tuple[int, int]
) -> Backbone:
    backbone = create_backbone(name, layers=layers, weights=weights, input_hw=input_hw)
    if layers is None and getattr(backbone, "has_class_token", False):
        named = [*backbone.settings()["layers"], CLASS_TOKEN]
        backbone = create_backbone(name, layers=named, weights=weights, input_hw=input_hw)
    return backbone


def _same_source(source: Source, folder: Path, *, resume: bool) -> None:
    """Note what is judged, or refuse to continue with other files."""
    listed = [[job.name, *_stamp(job.name)] for job in source.jobs()]
    path = folder / _SOURCE
    if resume and path.exists():
        if json.loads(path.read_text()) != listed:
            raise SettingsError(
                f"{folder}: was begun with other images; leave --resume out to begin anew"
            )
        return
    write_bytes_atomic(path, json.dumps(listed).encode())


def _stamp(name: str) -> list[int]:
    try:
        facts = Path(name).stat()
    except OSError:
        return []
    return [facts.st_size, facts.st_mtime_ns]
