"""Two or more folders that show the same parts, paired by file name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from anomalib_lite.edge.errors import SourceError
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.inputs import FRAMES, Inputs
from anomalib_lite.edge.measured import MEASURED_SUFFIXES
from anomalib_lite.edge.sources import Job, open_source
from anomalib_lite.edge.views import as_view


class PairedSource:
    """Views of several files each: `frames/007.png` with `depth/007.tiff`.

    Files belong together when their names are equal but for the ending. Each has its partners:
    a picture without depth is no view, and a depth without picture is most often a misspelt name.

    Args:
        folders: a folder for each input, `frames` among them.
        inputs: what the model is declared to see.

    Raises:
        SourceError: a folder is missing or empty, or a file lacks its partner.
    """

    rereadable = True

    def __init__(self, folders: Mapping[str, str | Path], inputs: Inputs) -> None:
        if set(folders) != set(inputs.names):
            raise SourceError(
                f"folders are given for {', '.join(folders) or 'nothing'}; the model sees "
                f"{' and '.join(inputs.names)}: give one for each"
            )
        self._inputs = inputs
        self._files = {name: _by_stem(folders[name], name) for name in inputs.names}
        self.name = str(folders[FRAMES])
        self._require_partners(folders)

    def __len__(self) -> int:
        return len(self._files[FRAMES])

    def jobs(self) -> Iterator[Job]:
        for stem, picture in self._files[FRAMES].items():
            paths = {name: files[stem] for name, files in self._files.items()}
            yield Job(str(picture), lambda paths=paths: self._load(paths))  # type: ignore[misc]

    def _load(self, paths: Mapping[str, Path]) -> Frame:
        # Readers hand on what they get; only preparation looks inside.
        return cast(Frame, as_view(paths, self._inputs))

    def _require_partners(self, folders: Mapping[str, Any]) -> None:
        pictures = self._files[FRAMES]
        for name in self._inputs.measured:
            partners = self._files[name]
            for here, there, folder in (
                (pictures, partners, folders[name]),
                (partners, pictures, folders[FRAMES]),
            ):
                alone = [stem for stem in here if stem not in there]
                if alone:
                    others = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
                    raise SourceError(
                        f"{here[alone[0]]}{others} has no partner in {folder}: no file there is "
                        f"named {alone[0]}.*; add it, or take the lone file out"
                    )


def named_folders(text: str, inputs: Inputs) -> dict[str, str]:
    """Folders by input name from `frames=DIR,depth=DIR`; raises `SourceError`."""
    pairs = [part.partition("=") for part in text.split(",")]
    folders = {name.strip(): folder for name, _, folder in pairs if folder}
    if len(folders) < len(pairs):
        example = ",".join(f"{name}=FOLDER" for name in inputs.names)
        raise SourceError(f"{text}: the model sees {' and '.join(inputs.names)}; write {example}")
    return folders


def _by_stem(folder: str | Path, name: str) -> dict[str, Path]:
    """Files of a folder by their names without ending, in order."""
    files: dict[str, Path] = {}
    for path in _listed(Path(folder), name):
        if path.stem in files:
            raise SourceError(
                f"{files[path.stem]} and {path.name} have the same name; leave one of them out"
            )
        files[path.stem] = path
    return files


def _listed(folder: Path, name: str) -> list[Path]:
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder, for the input {name}")
    if name == FRAMES:
        return [Path(job.name) for job in open_source(folder).jobs()]
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise SourceError(f"{folder}: cannot be listed ({error.strerror})") from error
    measured = [path for path in paths if path.suffix.lower() in MEASURED_SUFFIXES]
    if not measured:
        raise SourceError(
            f"{folder}: holds no {name} ({', '.join(sorted(MEASURED_SUFFIXES))}); give the folder "
            "of its files"
        )
    return measured
