"""Read every file of a data set once and report what would spoil a fit or a measurement."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from anomalib_lite.data.adapters.dataset import Dataset
from anomalib_lite.data.adapters.leftovers import note_leftovers
from anomalib_lite.data.adapters.pixels import depth_size_hw, size_hw
from anomalib_lite.data.adapters.report import DatasetReport, FileProblem
from anomalib_lite.data.masks import flat_mask, looks_inverted
from anomalib_lite.data.sample import Sample
from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.frames import decode_frame

Progress: TypeAlias = Callable[[int, int], None]
SizeHW: TypeAlias = tuple[int, int]

_WORKERS = 2
_WAITING = 4 * _WORKERS  # files in flight, which bounds memory whatever the size of the set


@dataclass
class _Findings:
    """What one sample's files showed; no pixels are kept."""

    digest: bytes | None = None
    size: SizeHW | None = None
    unreadable: str | None = None
    masks: list[tuple[Path, str]] = field(default_factory=list)
    mask_sizes: list[tuple[Path, str]] = field(default_factory=list)
    empty_masks: list[Path] = field(default_factory=list)
    inverted_masks: list[tuple[Path, str]] = field(default_factory=list)
    depth: str | None = None
    depth_size: str | None = None


def check_dataset(dataset: Dataset, progress: Progress | None = None) -> DatasetReport:
    """Check all files of an opened data set.

    Two threads read and decode; only hashes and problems are kept, so memory stays bounded.

    Args:
        dataset: as `open_dataset` gives it.
        progress: called with (images done, images in total) after each image, in this thread.

    Raises:
        SourceError: the samples cannot be listed.
    """
    samples = dataset.samples()
    report = DatasetReport(dataset.kind, str(dataset.root), _count(samples))
    with_masks = {sample.category for sample in samples if sample.mask_paths}
    if dataset.info.masks == "always":
        with_masks.update(dataset.categories)
    groups: dict[bytes, list[int]] = {}
    for index, findings in enumerate(_inspect_all(samples)):
        sample = samples[index]
        _note(report, sample, findings, dataset.root)
        if dataset.info.depth and sample.depth_path is None:
            name = _shown(sample.path, dataset.root)
            report.unreadable_depth.append(FileProblem(name, "has no depth file"))
        if sample.label and not sample.mask_paths and sample.category in with_masks:
            report.missing_masks.append(_shown(sample.path, dataset.root))
        if findings.digest is not None:
            groups.setdefault(findings.digest, []).append(index)
        if progress is not None:
            progress(index + 1, len(samples))
    note_leftovers(report, dataset, samples)
    for members in groups.values():
        if len(members) > 1:
            names = [_shown(samples[i].path, dataset.root) for i in members]
            report.duplicates.append(names)
            if len({samples[i].split for i in members}) > 1:
                report.leaks.append(names)
    return report


def _count(samples: Sequence[Sample]) -> dict[str, dict[str, dict[str, int]]]:
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for sample in samples:
        defects = counts.setdefault(sample.category, {}).setdefault(sample.split, {})
        defects[sample.defect] = defects.get(sample.defect, 0) + 1
    return counts


def _inspect_all(samples: Sequence[Sample]) -> Iterator[_Findings]:
    """Findings in the order of the samples, with a bounded number of samples in flight."""
    waiting: deque[Future[_Findings]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        try:
            for sample in samples:
                waiting.append(pool.submit(_inspect, sample))
                if len(waiting) >= _WAITING:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _inspect(sample: Sample) -> _Findings:
    findings = _Findings()
    try:
        data = _read(sample.path)
        findings.digest = hashlib.sha256(data).digest() if data else None
        findings.size = size_hw(decode_frame(data, name=""))
    except FrameError as error:
        findings.unreadable = _reason(error)
    for mask_path in sample.mask_paths:
        try:
            mask = flat_mask(decode_frame(_read(mask_path), name=""), mask_path)
        except FrameError as error:
            findings.masks.append((mask_path, _reason(error)))
            continue
        if findings.size and size_hw(mask) != findings.size:
            findings.mask_sizes.append((mask_path, _sizes(size_hw(mask), findings.size)))
        if not mask.any():
            findings.empty_masks.append(mask_path)
        if doubt := looks_inverted(mask):
            findings.inverted_masks.append((mask_path, doubt))
    if sample.depth_path is not None:
        _inspect_depth(sample.depth_path, findings)
    return findings


def _inspect_depth(path: Path, findings: _Findings) -> None:
    try:
        size = depth_size_hw(_read(path), path.name)
    except FrameError as error:
        findings.depth = _reason(error, path.name)
        return
    if findings.size and size != findings.size:
        findings.depth_size = _sizes(size, findings.size)


def _note(report: DatasetReport, sample: Sample, findings: _Findings, root: Path) -> None:
    if findings.size:
        report.image_sizes["{}x{}".format(*findings.size)] += 1
    if findings.unreadable:
        report.unreadable.append(FileProblem(_shown(sample.path, root), findings.unreadable))
    for found, problems in (
        (findings.masks, report.unreadable_masks),
        (findings.mask_sizes, report.mask_size_mismatch),
        (findings.inverted_masks, report.inverted_masks),
    ):
        problems += [FileProblem(_shown(path, root), reason) for path, reason in found]
    report.empty_masks += [_shown(path, root) for path in findings.empty_masks]
    if sample.depth_path is not None:
        depth = _shown(sample.depth_path, root)
        if findings.depth:
            report.unreadable_depth.append(FileProblem(depth, findings.depth))
        if findings.depth_size:
            report.depth_size_mismatch.append(FileProblem(depth, findings.depth_size))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FrameError("the file is missing") from error
    except OSError as error:
        raise FrameError(f"cannot be read ({error.strerror or type(error).__name__})") from error


def _reason(error: FrameError, name: str = "") -> str:
    return str(error).removeprefix(f"{name}: ")


def _sizes(found: SizeHW, image: SizeHW) -> str:
    return "is {}x{}, the image {}x{}".format(*found, *image)


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
