"""A folder of good pictures -> a labelled set in the layout of MVTec AD, defects simulated."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anomalib_lite.data.simulate.contact_sheet import ContactSheet
from anomalib_lite.data.simulate.families import FAMILIES
from anomalib_lite.data.simulate.made import DefectRequest, MadeDefect
from anomalib_lite.data.simulate.part_mask import Part, find_part, given_part, whole_picture
from anomalib_lite.data.simulate.plan import DefectPlan
from anomalib_lite.data.simulate.textures import TextureBank, procedural_textures, texture_folder
from anomalib_lite.edge.errors import FrameError, SettingsError, SourceError
from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.sources import Job, Source, refuse_inside

FEWEST_GOOD = 5
_KEPT_OUT = 5  # every fifth good picture is kept for the test half, and carries the defects
_PNG_QUICK = [cv2.IMWRITE_PNG_COMPRESSION, 1]


@dataclass(frozen=True)
class WrittenSet:
    """What was written.

    Attributes:
        folder: of the set.
        train, test_good: number of good pictures in either half.
        defects: number of pictures of each kind.
        skipped: good pictures that could not be read, with the reason.
        left_out: why defects could not be made, and how many.
    """

    folder: Path
    train: int = 0
    test_good: int = 0
    defects: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True)
class Where:
    """How the part is found in a frame.

    Attributes:
        mask: one for all frames; None looks for it in each.
        whole: the whole picture is the part.
    """

    mask: Frame | None = None
    whole: bool = False

    def part(self, frame: Frame) -> Part:
        """The part in a frame; the whole picture where none stands out.

        Raises:
            SettingsError: a mask of another size than the frame.
        """
        size_hw = (frame.shape[0], frame.shape[1])
        if self.mask is not None:
            return given_part(self.mask, size_hw)
        return (None if self.whole else find_part(frame)) or whole_picture(size_hw)


def write_defect_set(
    good: Source,
    out: str | Path,
    plan: DefectPlan | None = None,
    *,
    count: int = 200,
    where: Where | None = None,
    textures: str | Path | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> WrittenSet:
    """Write `train/good`, `test/good`, `test/<kind>`, `ground_truth`, and `contact_sheet.png`.

    A fifth of the good pictures is kept for `test`; defects lie on those only. `defects.jsonl`
    says of every one what was asked for and where it lies. Everything is PNG, pixels unchanged.

    Args:
        good: good pictures; read once, never held at once.
        out: a new or empty folder.
        plan: which defects; None is every kind that the pictures allow.
        count: pictures with a defect.
        where: how the part is found.
        textures: folder of pictures for foreign bodies and perlin; None takes procedural ones.
        seed: the same seed and pictures give the same bytes.
        progress: called with (pictures read, all).

    Raises:
        SourceError: fewer than five good pictures; the folder lies among them.
        SettingsError: the folder is not empty; a defect that was asked for, or none at all, fits.
    """
    jobs = list(good.jobs())
    if len(jobs) < FEWEST_GOOD:
        raise SourceError(
            f"{good.name}: holds {len(jobs)} good image(s); give at least {FEWEST_GOOD}, so that "
            "some are left to put defects on"
        )
    folder = Path(out)
    refuse_inside(folder, good)
    if folder.exists() and any(item for item in folder.iterdir() if not item.name.startswith(".")):
        raise SettingsError(f"{folder}: is not empty; give a new folder")
    shares = _shares(len(jobs), count, np.random.default_rng([seed, 0]))
    writer = _Writer(folder, plan, where or Where(), textures, seed)
    with writer.undoing():
        return _written(jobs, shares, writer, progress)


def _written(
    jobs: list[Job],
    shares: dict[int, list[int]],
    writer: _Writer,
    progress: Callable[[int, int], None] | None,
) -> WrittenSet:
    written = WrittenSet(writer.folder)
    numbers = {"train": 0, "test": 0}
    for index, job in enumerate(jobs):
        if progress is not None:
            progress(index, len(jobs))
        try:
            frame = job.load()
        except FrameError as error:
            written.skipped[job.name] = str(error).removeprefix(f"{job.name}: ")
            continue
        half = "test" if index in shares else "train"
        writer.write(f"{half}/good/{numbers[half]:04d}.png", frame)
        numbers[half] += 1
        for number in shares.get(index, ()):
            writer.put(frame, number, job.name, written)
    _require_both_halves(written, numbers)
    writer.finish()
    return WrittenSet(
        writer.folder,
        numbers["train"],
        numbers["test"],
        written.defects,
        written.skipped,
        written.left_out,
    )


def _require_both_halves(written: WrittenSet, numbers: dict[str, int]) -> None:
    if sum(numbers.values()) < FEWEST_GOOD or not all(numbers.values()):
        name, why = next(iter(written.skipped.items()))
        raise SourceError(
            f"{sum(numbers.values())} good image(s) could be read, {len(written.skipped)} could "
            f"not ({name}: {why}); at least {FEWEST_GOOD} are needed, in both halves of the set"
        )
    if not written.defects.total():
        raise SettingsError(
            f"no defect could be made: {next(iter(written.left_out))}; name a --kind, a --size, "
            "or where the part is (--object-mask)"
        )


def _shares(images: int, count: int, rng: np.random.Generator) -> dict[int, list[int]]:
    """Which images are kept for the test half, and the numbers of the defects on each."""
    kept = rng.permutation(images)[: max(1, images // _KEPT_OUT)]
    shares: dict[int, list[int]] = {int(index): [] for index in kept}
    # Shuffled, since kinds come in turn: else each kind would always lie on the same images.
    for number, index in enumerate(rng.permutation(np.resize(kept, count)).tolist()):
        shares[index].append(number)
    return shares


class _Writer:
    """Writes one set; remembers textures, examples and what was made."""

    def __init__(
        self,
        folder: Path,
        plan: DefectPlan | None,
        where: Where,
        textures: str | Path | None,
        seed: int,
    ) -> None:
        self.folder, self.where, self.seed = folder, where, seed
        self.asked = plan is not None
        self.plan = plan or DefectPlan(kinds=tuple(FAMILIES))
        self.source = textures
        self.banks: dict[tuple[int, int], TextureBank] = {}
        self.sheet = ContactSheet()
        self.lines: list[str] = []
        self.files: list[Path] = []
        if textures is not None:
            self._bank((16, 16))  # a folder without pictures is told before anything is written

    def put(self, frame: Frame, number: int, name: str, written: WrittenSet) -> None:
        """Make and write the defect of that number on a frame."""
        kind = self.plan.kinds[(number + self.seed) % len(self.plan.kinds)]
        rng = np.random.default_rng([self.seed, 1, number])
        part = self.where.part(frame)
        try:
            bank = self._bank((frame.shape[0], frame.shape[1]))
            made, request = self.plan.draw(kind, frame, part, rng, bank)
        except SettingsError as error:
            if self.asked:
                raise SettingsError(f"{name}: {error}") from error
            written.left_out[str(error)] += 1
            return
        place = written.defects[kind]
        written.defects[kind] += 1
        self.write(f"test/{kind}/{place:04d}.png", made.frame)
        self.write(f"ground_truth/{kind}/{place:04d}_mask.png", made.mask.astype(np.uint8) * 255)
        facts = _facts(kind, made, request)
        self.lines.append(
            json.dumps({"file": f"test/{kind}/{place:04d}.png", "on": Path(name).name, **facts})
        )
        asked = "" if request is None else f" {request.size:.0f} px"
        self.sheet.add(kind, made.frame, made.mask, f"{kind}{asked}, change {made.change:.0f}")

    @contextmanager
    def undoing(self) -> Iterator[None]:
        """Remove what was written unless the set was finished: half of one looks like a whole."""
        try:
            yield
        except BaseException:
            for path in self.files:
                path.unlink(missing_ok=True)
            for path in sorted(_folders(self.files), key=lambda path: -len(path.parts)):
                if self.folder in path.parents:
                    with suppress(OSError):
                        path.rmdir()
            raise

    def write(self, name: str, frame: Frame) -> None:
        """Encode a frame as PNG."""
        pixels = frame
        if frame.ndim == 3 and frame.shape[2] >= 3:
            pixels = frame[:, :, [2, 1, 0, 3][: frame.shape[2]]]
        self.files.append(self.folder / name)
        _, code = cv2.imencode(".png", np.ascontiguousarray(pixels), _PNG_QUICK)
        write_bytes_atomic(self.folder / name, code.tobytes(), durable=False)

    def finish(self) -> None:
        """Write the contact sheet and the list of defects."""
        self.write("contact_sheet.png", self.sheet.picture())
        write_bytes_atomic(
            self.folder / "defects.jsonl", "".join(line + "\n" for line in self.lines).encode()
        )

    def _bank(self, size_hw: tuple[int, int]) -> TextureBank:
        if size_hw not in self.banks:
            self.banks[size_hw] = (
                procedural_textures(size_hw, seed=self.seed)
                if self.source is None
                else texture_folder(self.source, size_hw)
            )
        return self.banks[size_hw]


def _folders(files: list[Path]) -> set[Path]:
    return {parent for path in files for parent in path.parents}


def _facts(kind: str, made: MadeDefect, request: DefectRequest | None) -> dict[str, Any]:
    asked = {"kind": kind} if request is None else asdict(request)
    return {
        **asked,
        "place": list(made.place),
        "largest_change": round(made.change, 2),
        "pixels": int(np.count_nonzero(made.mask)),
    }
