"""`kind:path[:category]` -> a data set that lists its samples."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anomalib_lite.data.adapters.files import describe, subfolders
from anomalib_lite.data.adapters.registry import Adapter, KindInfo, find_kind, guess_kind
from anomalib_lite.data.sample import SPLITS, Sample, Split
from anomalib_lite.edge.errors import SourceError

_FORM = "kind:path or kind:path:category"
_LOOKED_AT = 50  # sub-folders tried for a suggestion, so that an error stays quick


@dataclass(frozen=True)
class Dataset:
    """An opened data set: its kind, its categories and a lister that loads no pixels.

    Attributes:
        info: facts about the kind.
        root: folder that was opened.
        sources: categories in order, each with the folder or list it is read from.
    """

    info: KindInfo
    root: Path
    sources: Mapping[str, Path]
    _adapter: Adapter = field(repr=False)
    _listed: dict[str, tuple[Sample, ...]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def kind(self) -> str:
        """The word before the colon."""
        return self.info.kind

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, in order."""
        return tuple(self.sources)

    def samples(
        self, split: Split | None = None, category: str | None = None, *, label: int | None = None
    ) -> list[Sample]:
        """Samples in a fixed order: by category, then as the data set's folders are read.

        Args:
            split: only this split. Some sets (KolektorSDD2, DAGM, DeepPCB) have defective images
                in `"train"`: add `label=0` to fit on good ones.
            category: only this category; all by default.
            label: only good (0) or only anomalous (1) samples.

        Raises:
            SourceError: the split or the category is unknown, or a category has no image at all.
        """
        if split is not None and split not in SPLITS:
            raise SourceError(f"split {split!r} is unknown, expected one of {', '.join(SPLITS)}")
        names = self.categories if category is None else (self._check(category),)
        return [
            sample
            for name in names
            for sample in self._list(name)
            if (split is None or sample.split == split) and (label is None or sample.label == label)
        ]

    def _check(self, category: str) -> str:
        if category not in self.sources:
            raise _unknown_category(self.root, category, self.categories)
        return category

    def _list(self, category: str) -> tuple[Sample, ...]:
        if category not in self._listed:
            samples = tuple(self._adapter.list_samples(self.sources[category], category))
            if not samples:
                raise SourceError(
                    f"{self.root}: category {category!r} holds no image, expected "
                    f"{self.info.layout}; unpack the archive again"
                )
            self._listed[category] = samples
        return self._listed[category]


def open_dataset(spec: str) -> Dataset:
    """Open `kind:path[:category]`, for example `mvtec:/data/mvtec_ad:bottle`.

    Raises:
        SourceError: the specification, the folder, its layout or the category is wrong; the
            message says what was found, what was expected and what to do.
    """
    kind, path, category = parse_spec(spec)
    info, adapter = find_kind(kind)
    root = _check_folder(kind, path)
    sources = adapter.find_categories(root)
    if not sources:
        raise SourceError(
            f"{root}: not {info.title}; found {describe(root)}, expected {info.layout}; "
            f"{_suggest(info.kind, root)}"
        )
    if category is not None:
        if category not in sources:
            raise _unknown_category(root, category, tuple(sources))
        sources = {category: sources[category]}
    return Dataset(info, root, sources, adapter)


def parse_spec(spec: str) -> tuple[str, str, str | None]:
    """Kind, path and category (or `None`) of a specification.

    Raises:
        SourceError: it is not of the form `kind:path[:category]`.
    """
    parts = [part.strip() for part in spec.split(":")]
    if len(parts) == 1:
        root = Path(spec.strip()).expanduser()
        guess = guess_kind(root) if spec.strip() and os.path.isdir(root) else None
        hint = f"; did you mean {guess}:{spec.strip()}?" if guess else ""
        raise SourceError(f"{spec!r} names no kind of data set, expected {_FORM}{hint}")
    if len(parts) > 3 or (len(parts) == 3 and os.path.exists(f"{parts[1]}:{parts[2]}")):
        raise SourceError(
            f"{spec!r} has a colon inside the path, expected {_FORM}; rename the folder or use a "
            "link without a colon"
        )
    if not all(parts):
        raise SourceError(f"{spec!r} has an empty part, expected {_FORM}")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else None


def _check_folder(kind: str, path: str) -> Path:
    root = Path(path).expanduser()
    if os.path.isdir(root):
        return root
    if os.path.exists(root):
        raise SourceError(f"{root}: is a file, expected the data set's folder; unpack archives")
    parent = next((above for above in root.absolute().parents if os.path.isdir(above)), None)
    near: list[str] = []
    if parent is not None and parent == root.absolute().parent:
        near = difflib.get_close_matches(root.name, [found.name for found in subfolders(parent)])
    hint = f"did you mean {kind}:{root.parent / near[0]}?" if near else "check the path"
    raise SourceError(f"{root}: no such folder, expected a data set; {hint}")


def _suggest(kind: str, root: Path) -> str:
    guess = guess_kind(root)
    if guess is not None and guess != kind:
        return f"this looks like {guess}:{root}"
    for folder in subfolders(root)[:_LOOKED_AT]:
        guess = guess_kind(folder)
        if guess is not None and guess != "folder":
            return f"did you mean {guess}:{folder}?"
    return "check the path, or arrange the folder so"


def _unknown_category(root: Path, category: str, known: tuple[str, ...]) -> SourceError:
    near = difflib.get_close_matches(category, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "choose one of these"
    return SourceError(
        f"{root}: category {category!r} not found, expected one of {', '.join(known)}; {hint}"
    )
