"""The project's errors: one base and a few named children, each message one line.

A message says what was found, what was expected and what to do; the command line prints
it without a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class AnomalibLiteError(Exception):
    """Anything a user can mend: bad input, a missing file, an impossible request."""


class FrameError(AnomalibLiteError):
    """One frame cannot be used (unreadable, wrong depth, wrong channels); the rest may go on."""


class SourceError(AnomalibLiteError):
    """A source of frames (folder, video, camera, data set) cannot be read or is empty."""


class ModelFileError(AnomalibLiteError):
    """A detector or edge file is corrupt, foreign, or of a version this code cannot read."""


class WeightsError(AnomalibLiteError):
    """Pretrained weights cannot be found, or do not fit the network."""


class FitError(AnomalibLiteError):
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
