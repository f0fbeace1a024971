"""The project's errors: one base and a few named children, each message one line.

A message says what was found, what was expected and what to do; the command line prints
it without a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches

_REASONS_SHOWN = 3


class AnomalibLiteError(Exception):
    """Anything a user can mend: bad input, a missing file, an impossible request."""


class FrameError(AnomalibLiteError):
    """One frame cannot be used (unreadable, wrong depth, wrong channels); the rest may go on."""


class ReasonedError(AnomalibLiteError):
    """An error that may come from single images: it says the first reasons and keeps them all.

    Attributes:
        reasons: image name -> why it could not be used.
    """

    def __init__(self, message: str = "", *, reasons: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reasons: dict[str, str] = dict(reasons or {})

    def __str__(self) -> str:
        message = super().__str__()
        if not self.reasons:
            return message
        names: dict[str, list[str]] = {}
        for name, why in self.reasons.items():
            names.setdefault(why, []).append(name)
        said = []
        for why, found in list(names.items())[:_REASONS_SHOWN]:
            others = f" and {len(found) - 1} more" if len(found) > 1 else ""
            said.append(f"{found[0]}{others}: {why}")
        if len(names) > _REASONS_SHOWN:
            said.append(f"and {len(names) - _REASONS_SHOWN} more reasons")
        return f"{message}; {len(self.reasons)} could not be used: {'; '.join(said)}"


class SourceError(ReasonedError):
    """A source of frames (folder, video, camera, data set) cannot be read or is empty."""


class ModelFileError(AnomalibLiteError):
    """A detector or edge file is corrupt, foreign, or of a version this code cannot read."""


class WeightsError(AnomalibLiteError):
    """Pretrained weights cannot be found, or do not fit the network."""


class FitError(ReasonedError):
    """The fit cannot be done with these images or settings."""


class ExportError(AnomalibLiteError):
    """The exported file would not be the fitted model; nothing was written."""


class SettingsError(AnomalibLiteError):
    """A setting is unknown or out of range."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`" (did you mean padim?)"` where a known name is close to the given one, else empty."""
    lower = {other.lower(): other for other in known}
    close = get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    return f" (did you mean {lower[close[0]]}?)" if close else ""


@contextmanager
def telling_reasons(reasons: Mapping[str, str]) -> Iterator[None]:
    """Give a fit or source error that passes the reasons why single images could not be used."""
    try:
        yield
    except ReasonedError as error:
        if not error.reasons:
            error.reasons = dict(reasons)
        raise
