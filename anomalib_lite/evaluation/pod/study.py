"""A study: for each family a pilot finds where detection rises, the other trials lie there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from anomalib_lite.data.simulate.families import PLAIN_KINDS, Family, family_named
from anomalib_lite.data.simulate.textures import TextureBank, procedural_textures, texture_folder
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.runs.scoring import Model
from anomalib_lite.evaluation.pod.photographs import Photographs
from anomalib_lite.evaluation.pod.result import FamilyResult, PodStudy
from anomalib_lite.evaluation.pod.trials import Bench
from anomalib_lite.statistics.hit_miss import fit_hit_miss

DEFAULT_CONTRAST = 40.0
FEWEST_TRIALS = 40
_LEAST_SIZE, _LEAST_DENT = 2.0, 4.0
_PILOT_SIZES, _PILOT_EACH = 8, 3
_BEYOND = 1.25  # the second half reaches that much further than the rise
_TEXTURE_HW = (128, 128)


def run_study(
    model: Model,
    photographs: Photographs,
    *,
    kinds: Sequence[str] = PLAIN_KINDS,
    contrasts: Sequence[float] = (DEFAULT_CONTRAST,),
    trials: int = 100,
    textures: str | None = None,
    mm_per_pixel: float | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> PodStudy:
    """Measure every family at every contrast; families whose contrast is a limit have none.

    Args:
        model: judges at its own threshold.
        photographs: good images that it accepts.
        kinds: names of families.
        contrasts: grey levels of 255.
        trials: of each family and contrast, at least 40.
        textures: folder for foreign bodies; None takes procedural ones.
        mm_per_pixel: of the frames.
        seed: the same seed, model and photographs give the same study.
        progress: called with (family, done, all).

    Raises:
        SettingsError: an unknown family, too few trials, a contrast or scale out of range.
    """
    _check(contrasts, trials, mm_per_pixel)
    plan = [
        (family, contrast)
        for family in map(family_named, dict.fromkeys(kinds))
        for contrast in ((None,) if family.limit else tuple(contrasts))
    ]
    bank = (
        procedural_textures(_TEXTURE_HW, seed=seed, count=16)
        if textures is None
        else texture_folder(textures, _TEXTURE_HW)
    )
    results, left_out = [], {}
    for number, (family, contrast) in enumerate(plan):
        if progress is not None:
            progress(family.name, number, len(plan))
        found = _family(model, photographs, family, contrast, trials, bank, seed)
        if isinstance(found, str):
            left_out[family.name] = found
        else:
            results.append(found)
    return PodStudy(results, photographs, left_out, mm_per_pixel)


def quick_family(
    model: Model, photographs: Photographs, kind: str, contrast: float, *, seconds: float, seed: int
) -> FamilyResult | None:
    """One family within a time; None where that is too short for 40 trials."""
    bench = Bench(model, photographs.usable, family_named(kind), contrast, seed)
    bench.until = time.monotonic() + seconds
    _try_sizes(bench, 80)
    return _result(bench) if len(bench.trials) >= FEWEST_TRIALS else None


def _family(
    model: Model,
    photographs: Photographs,
    family: Family,
    contrast: float | None,
    trials: int,
    textures: TextureBank,
    seed: int,
) -> FamilyResult | str:
    items = [item for item in photographs.usable if item.part.bounded or not family.on_rim]
    if not items:
        return "the part fills the picture and has no edge in it; give --object-mask"
    bench = Bench(model, items, family, contrast, seed, textures)
    if not _try_sizes(bench, trials):
        return bench.refused[0] if bench.refused else "the part is too small for it"
    return _result(bench)


def _try_sizes(bench: Bench, trials: int) -> bool:
    """Pilot, then the rise; False where fewer than 40 trials could be made."""
    low = _LEAST_DENT if bench.family.name == "dent" else _LEAST_SIZE
    high = max(bench.largest(), 2 * low)
    pilot = np.exp(np.linspace(np.log(low), np.log(high), _PILOT_SIZES))
    bench.run(np.tile(pilot, _PILOT_EACH).tolist())
    rest = trials - _PILOT_SIZES * _PILOT_EACH
    # In two rounds, the second around what the first has found: a pilot is coarse.
    for round_, (count, least) in enumerate(((rest // 2, 1.4), (rest - rest // 2, 1.15))):
        first, last = np.log(_rise(bench, low, high, least))
        spread = np.exp(first + (last - first) * (np.arange(count) + 0.5) / count)
        rng = np.random.default_rng([bench.seed, round_, *bench.family.name.encode()])
        bench.run(rng.permutation(spread).tolist())
    return len(bench.trials) >= FEWEST_TRIALS


def _rise(bench: Bench, low: float, high: float, least: float) -> tuple[float, float]:
    """Sizes between which detection rises, as far as the trials tell; `least` to either side."""
    size, hit, photograph = bench.arrays()
    curve = fit_hit_miss(size, hit, photograph)
    if curve.standing == "all found":
        return low, min(high, 3 * low)
    first, last = curve.size_at(0.08), curve.size_at(0.96)
    if first is None or last is None:
        return low, high
    first, last = first / _BEYOND, last * _BEYOND
    middle = float(np.clip(np.sqrt(first * last), low, high))
    first, last = min(first, middle / least), max(last, middle * least)
    return float(np.clip(first, low, high / least)), float(np.clip(last, low * least, high))


def _result(bench: Bench) -> FamilyResult:
    size, hit, photograph = bench.arrays()
    curve = fit_hit_miss(size, hit, photograph)
    return FamilyResult(bench.family.name, bench.contrast, bench.trials, curve, len(bench.refused))


def _check(contrasts: Sequence[float], trials: int, mm_per_pixel: float | None) -> None:
    if not FEWEST_TRIALS <= trials <= 10_000:
        raise SettingsError(
            f"{trials} trials: choose {FEWEST_TRIALS} to 10000 of each family; 100 are usual"
        )
    for contrast in contrasts:
        if not 1 <= contrast <= 255:
            raise SettingsError(f"contrast {contrast:g}: choose 1 to 255 grey levels")
    if mm_per_pixel is not None and not 0 < mm_per_pixel < np.inf:
        raise SettingsError(f"{mm_per_pixel:g} mm per pixel: give a number above 0, such as 0.05")
