"""What a check of a data set found, as plain data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_SHOWN = 3  # examples named in a one-line problem


@dataclass(frozen=True)
class FileProblem:
    """One file that cannot be used as it is.

    Attributes:
        path: the file, relative to the data set's root where it lies below it.
        reason: what is wrong, in one line.
    """

    path: str
    reason: str


@dataclass
class DatasetReport:
    """Counts and problems of a data set; paths are relative to the root where possible.

    Attributes:
        kind, root: what was checked.
        counts: number of images by category, split and defect.
        image_sizes: number of readable images by `"<height>x<width>"` in pixels.
        unreadable: images that are missing, empty, truncated or of an unusable kind.
        unreadable_masks: the same for masks.
        unreadable_depth: the same for depth files; missing ones too.
        missing_masks: anomalous images without a mask, where the data set has masks.
        mask_size_mismatch: masks that are not the size of their image.
        depth_size_mismatch: depth files that are not the size of their image.
        empty_masks: masks of anomalous images that mark no pixel.
        inverted_masks: masks in which black and white seem to have changed places.
        unmatched_masks: masks that mark something and belong to no anomalous image.
        left_out: what lies in the folders and is in no sample, in words.
        duplicates: groups of images whose files have the same content (SHA-256).
        leaks: those groups that reach over more than one split, such as train and test.
    """

    kind: str
    root: str
    counts: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    image_sizes: Counter[str] = field(default_factory=Counter)
    unreadable: list[FileProblem] = field(default_factory=list)
    unreadable_masks: list[FileProblem] = field(default_factory=list)
    unreadable_depth: list[FileProblem] = field(default_factory=list)
    missing_masks: list[str] = field(default_factory=list)
    mask_size_mismatch: list[FileProblem] = field(default_factory=list)
    depth_size_mismatch: list[FileProblem] = field(default_factory=list)
    empty_masks: list[str] = field(default_factory=list)
    inverted_masks: list[FileProblem] = field(default_factory=list)
    unmatched_masks: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    leaks: list[list[str]] = field(default_factory=list)

    @property
    def images(self) -> int:
        """Number of images listed, readable or not."""
        return sum(
            count
            for splits in self.counts.values()
            for defects in splits.values()
            for count in defects.values()
        )

    @property
    def usable(self) -> bool:
        """Whether every file can be read, masks and depth fit, and no content crosses splits.

        Missing and empty masks, and duplicates inside a split, do not make a set unusable: public
        sets have them, and image scores do not depend on them.
        """
        return not (
            self.unreadable
            or self.unreadable_masks
            or self.unreadable_depth
            or self.mask_size_mismatch
            or self.depth_size_mismatch
            or self.leaks
        )

    def problems(self) -> list[str]:
        """One line for each kind of problem found, gravest first, with a few examples."""
        files = (
            ("images cannot be read", self.unreadable),
            ("masks cannot be read", self.unreadable_masks),
            ("depth files cannot be read", self.unreadable_depth),
            ("masks are not the size of their image", self.mask_size_mismatch),
            ("depth files are not the size of their image", self.depth_size_mismatch),
            ("masks look inverted", self.inverted_masks),
        )
        groups = (
            ("groups of identical images lie in more than one split", self.leaks),
            ("groups of images are identical", self.duplicates),
        )
        names = (
            ("anomalous images have no mask", self.missing_masks),
            ("masks of anomalous images are empty", self.empty_masks),
            ("masks mark something and fit no anomalous image", self.unmatched_masks),
        )
        lines = [_line(what, [f"{p.path} ({p.reason})" for p in found]) for what, found in files]
        lines += [_line(what, [" = ".join(group) for group in found]) for what, found in groups]
        lines += [_line(what, found) for what, found in names]
        return [line for line in lines if line]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        plain: dict[str, Any] = {"kind": self.kind, "root": self.root, "images": self.images}
        plain["usable"] = self.usable
        plain["counts"] = self.counts
        plain["image_sizes"] = dict(self.image_sizes.most_common())
        for name in (
            "unreadable",
            "unreadable_masks",
            "unreadable_depth",
            "mask_size_mismatch",
            "depth_size_mismatch",
            "inverted_masks",
        ):
            plain[name] = [{"path": p.path, "reason": p.reason} for p in getattr(self, name)]
        for name in (
            "missing_masks",
            "empty_masks",
            "unmatched_masks",
            "duplicates",
            "leaks",
            "left_out",
        ):
            plain[name] = getattr(self, name)
        return plain


def _line(what: str, found: list[str]) -> str:
    if not found:
        return ""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{len(found)} {what}: {', '.join(found[:_SHOWN])}{more}"
