"""The kinds of data sets this package can read: one decorator, facts beside the code."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar

from anomalib_lite.data.sample import Sample
from anomalib_lite.edge.errors import SourceError


@dataclass(frozen=True)
class KindInfo:
    """What a user should know before downloading or opening a data set.

    Attributes:
        kind: the word before the colon in `kind:path`.
        title: name of the data set.
        layout: folder layout expected below the path.
        download: what to get and from where, in words.
        homepage: official project page, empty for plain folders.
        licence: terms as published; check them at the source before any commercial use.
        citation: paper to cite.
        split_rule: where train, validation and test come from.
        masks: whether anomalous images come with masks `"always"`, `"optional"`ly or `"never"`.
        depth: whether samples carry a depth or xyz file.
    """

    kind: str
    title: str
    layout: str
    download: str
    homepage: str
    licence: str
    citation: str
    split_rule: str
    masks: Literal["always", "optional", "never"] = "always"
    depth: bool = False

    def to_dict(self) -> dict[str, str | bool]:
        """The facts as plain values, for JSON."""
        return asdict(self)


class Adapter(ABC):
    """How to list one kind of data set; stateless."""

    @abstractmethod
    def find_categories(self, root: Path) -> dict[str, Path]:
        """Categories and the folder or list each is read from; empty if the layout is foreign."""

    @abstractmethod
    def list_samples(self, source: Path, category: str) -> list[Sample]:
        """All samples of one category, from the place that `find_categories` named."""

    def recognises(self, root: Path) -> bool:
        """Whether the layout is so typical of this kind that it may be suggested to a user."""
        return bool(self.find_categories(root))


AdapterClass = TypeVar("AdapterClass", bound=type[Adapter])

_ADAPTERS: dict[str, tuple[KindInfo, Adapter]] = {}


def register(info: KindInfo) -> Callable[[AdapterClass], AdapterClass]:
    """Class decorator that makes an adapter available under `info.kind`."""

    def add(adapter: AdapterClass) -> AdapterClass:
        if info.kind in _ADAPTERS:
            raise ValueError(f"kind {info.kind!r} is registered twice")
        _ADAPTERS[info.kind] = (info, adapter())
        return adapter

    return add


def list_kinds() -> list[KindInfo]:
    """Facts about every kind, sorted by name."""
    return [_ADAPTERS[kind][0] for kind in sorted(_ADAPTERS)]


def find_kind(kind: str) -> tuple[KindInfo, Adapter]:
    """Facts and adapter of a kind, upper or lower case alike.

    Raises:
        SourceError: there is no such kind; the message lists all and names the nearest.
    """
    found = _ADAPTERS.get(kind.lower())
    if found is None:
        near = difflib.get_close_matches(kind.lower(), _ADAPTERS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        known = ", ".join(sorted(_ADAPTERS))
        raise SourceError(f"data set kind {kind!r} is unknown, expected one of {known}{hint}")
    return found


def guess_kind(root: Path) -> str | None:
    """The kind whose layout a folder has, or `None`; the most particular layout wins."""
    general = ("mvtec", "folder")
    particular = [kind for kind in sorted(_ADAPTERS) if kind not in general]
    for kind in (*particular, *general):
        try:
            if _ADAPTERS[kind][1].recognises(root):
                return kind
        except SourceError:
            continue
    return None
