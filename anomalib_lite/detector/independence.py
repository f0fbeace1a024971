"""Which images of a source are independent: a first look at them, before anything is learnt.

Copies of a photograph, views of one part and neighbours in a video are no news to a model that has
learnt one of them. Held-out scores must come from models that have seen none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.grouping import AUTO, groups_of
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.statistics.near_copies import joined, near_copies

FEWEST_PARTS = 3
ID_DIGITS = 32
GroupBy = str | Sequence[Hashable]
"""A rule (`data.grouping.groups_of`), or the group of each image of the source."""


@dataclass(frozen=True, eq=False)
class Independence:
    """What a first look at the images of a source finds.

    Attributes:
        origins: what each image shows, by its index: equal for images of one origin, -1 for one
            that cannot be used `(n,)`.
        names: of the origins that are told by name, by their number.
        copies: (name, name of the first) of exact copies, which count once.
        kept: indices of the images that are no copies, ascending.
        alike: groups of near copies that were found, by name.
    """

    origins: NDArray[np.int64]
    names: dict[int, str] = field(default_factory=dict)
    copies: tuple[tuple[str, str], ...] = ()
    kept: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    alike: tuple[tuple[str, ...], ...] = ()

    def name_of(self, index: int) -> str:
        """Name of what an image shows; empty where it stands alone."""
        return self.names.get(int(self.origins[index]), "")

    def without_copies(self) -> tuple[NDArray[np.int64], Independence]:
        """Indices of all but the copies, and what is known of a source of those alone."""
        usable = np.flatnonzero(self.origins >= 0)
        chosen = np.setdiff1d(np.arange(len(self.origins)), np.setdiff1d(usable, self.kept))
        origins = self.origins[chosen]
        alone = replace(self, origins=origins, kept=np.flatnonzero(origins >= 0))
        return chosen, alone

    @property
    def parts(self) -> int:
        """Number of independent images."""
        return len(np.unique(self.origins[self.origins >= 0]))

    def explain(self) -> list[str]:
        """What a person should know, a line each; empty where all images are independent."""
        lines = []
        if self.copies:
            name, first = self.copies[0]
            lines.append(
                f"{len(self.copies)} exact copies count once (the first: {name} is {first})"
            )
        if self.alike:
            shown = "; ".join(" = ".join(_short(group)) for group in self.alike[:5])
            lines.append(
                f"{sum(map(len, self.alike))} images look like further pictures of the same "
                f"{len(self.alike)} parts and stay together: {shown}"
                f"{'; …' if len(self.alike) > 5 else ''} (--group-by says it better)"
            )
        return lines


def look_through(
    stream: ImageStream, group_by: GroupBy = AUTO, *, fewest: int = FEWEST_PARTS
) -> Independence:
    """Read a stream once and say which of its images are independent.

    Args:
        stream: good images; its `fingerprints` are filled.
        group_by: a rule, or the group of each image of the source; an empty name stands alone.
        fewest: parts that there must be.

    Raises:
        SettingsError: the rule cannot be read, or does not fit the images.
        FitError: fewer than `fewest` independent images.
    """
    automatic = isinstance(group_by, str) and group_by == AUTO
    stream.look(pictures=automatic)
    indices = np.array(sorted(stream.fingerprints), np.int64)
    names = [stream.names[index] for index in indices.tolist()]
    groups = _groups(group_by, names, indices, stream)
    pairs: list[tuple[int, int]] = []
    first_of: dict[Hashable, int] = {}
    copies, kept = [], []
    for place, index in enumerate(indices.tolist()):
        known = first_of.setdefault(("copy", stream.fingerprints[index]), place)
        if known != place:
            copies.append((names[place], names[known]))
            pairs.append((known, place))
        else:
            kept.append(index)
        if groups is not None and groups[place] != "":
            pairs.append((first_of.setdefault(("group", groups[place]), place), place))
    alike: tuple[tuple[str, ...], ...] = ()
    if automatic:
        near = _near(stream, np.array(kept, np.int64), indices)
        pairs += near
        alike = _named(joined(len(indices), near), names)
    numbers = joined(len(indices), pairs)
    origins = np.full(stream.size, -1, np.int64)
    origins[indices] = numbers
    told = {
        number: f"like {stream.fingerprints[int(indices[number])][:ID_DIGITS]}"
        for number, count in Counter(origins[kept].tolist()).items()
        if count > 1
    }
    if groups is not None:
        told |= {int(numbers[place]): str(name) for place, name in enumerate(groups) if name != ""}
    found = Independence(origins, told, tuple(copies), np.array(kept, np.int64), alike)
    if 1 <= found.parts < min(fewest, len(kept)):
        raise FitError(
            f"the {len(kept)} good images show only {found.parts} part(s): a model that has learnt "
            "one picture of a part says nothing of other parts; give pictures of at least "
            f"{fewest} parts, or take each picture for a part of its own (--group-by none)"
        )
    return found


def chosen(group_by: GroupBy, indices: Sequence[int]) -> GroupBy:
    """What to give for some images of a source alone."""
    return group_by if isinstance(group_by, str) else [group_by[index] for index in indices]


def _groups(
    group_by: GroupBy, names: list[str], indices: NDArray[np.int64], stream: ImageStream
) -> Sequence[Hashable] | None:
    """The group of each usable image; None where nothing is grouped."""
    if isinstance(group_by, str):
        # Below a video there is only the number of a frame.
        video = stream.source.name.replace("\\", "/").rpartition("/")[2]
        return groups_of([f"{video}{n}" if n.startswith("#") else n for n in names], group_by)
    if len(group_by) != stream.size:
        raise SettingsError(
            f"{len(group_by)} groups for {stream.size} images; give one for each image of the "
            "source, in its order"
        )
    return [group_by[index] for index in indices.tolist()]


def _near(
    stream: ImageStream, kept: NDArray[np.int64], indices: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Near copies among images that are no copies, as places among all usable ones."""
    pictures = [stream.pictures[index] for index in kept.tolist() if index in stream.pictures]
    if len(pictures) < len(kept):
        return []
    places = np.searchsorted(indices, kept)
    return [(int(places[a]), int(places[b])) for a, b in near_copies(pictures)]


def _named(numbers: NDArray[np.int64], names: list[str]) -> tuple[tuple[str, ...], ...]:
    counts = Counter(numbers.tolist())
    groups: dict[int, list[str]] = {}
    for name, number in zip(names, numbers.tolist(), strict=True):
        if counts[number] > 1:
            groups.setdefault(number, []).append(name)
    return tuple(tuple(group) for group in groups.values())


def _short(group: Sequence[str]) -> list[str]:
    return [*group[:3], *(["…"] if len(group) > 3 else [])]
