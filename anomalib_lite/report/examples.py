"""The frames a person should look at: worst false rejects and worst misses, with heat maps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from anomalib_lite.report.components import colour_legend, figure, gallery
from anomalib_lite.report.data import Example, Run
from anomalib_lite.report.html import Child, Markup, join, shorten, tag
from anomalib_lite.report.words import counted

_NEAREST = 3


def picture_sizes(run: Run) -> tuple[list[int], list[int]]:
    """Bytes that each picture of false rejects and of misses adds to the page."""
    rejects, missed = (
        [example.picture.embedded_bytes if example.picture else 0 for example in examples]
        for examples in (_shown_rejects(run), _shown_misses(run))
    )
    return rejects, missed


def false_rejects(run: Run, pictures: int) -> Markup | None:
    """Good parts that were rejected, or that came nearest; the first `pictures` are shown."""
    if not run.good:
        return None
    words = f"{counted(run.rejected_good, len(run.good))} good parts were rejected"
    if run.rejected_good:
        words += "; the highest scores first."
    else:
        words = "No good part was rejected. The highest scores:"
    return _examples("Worst false rejects", words, _shown_rejects(run), run, pictures)


def misses(run: Run, pictures: int) -> Markup | None:
    """Defective parts that passed, or that came nearest; the first `pictures` are shown."""
    if not run.anomalous:
        return None
    missed = len(run.anomalous) - run.found
    words = f"{counted(missed, len(run.anomalous))} defective parts passed"
    words = (
        f"{words}; the lowest scores first."
        if missed
        else ("No defective part passed. The lowest scores:")
    )
    return _examples("Worst misses", words, _shown_misses(run), run, pictures)


def _shown_rejects(run: Run) -> list[Example]:
    """Rejected good parts, or the nearest to it when none was."""
    rejected = [example for example in run.false_rejects if example.part.is_anomalous]
    return rejected or list(run.false_rejects[: 0 if run.rejected_good else _NEAREST])


def _shown_misses(run: Run) -> list[Example]:
    missed = [example for example in run.misses if not example.part.is_anomalous]
    some = run.found < len(run.anomalous)
    return missed or list(run.misses[: 0 if some else _NEAREST])


def _examples(
    heading: str, words: str, examples: Sequence[Example], run: Run, pictures: int
) -> Markup:
    painted = any(example.picture and example.picture.heat for example in examples[:pictures])
    outlined = any(example.outlined for example in examples[:pictures])
    note = "The blue outline is the labelled defect." if outlined else None
    shown = [_example(example, run) for example in examples[:pictures]]
    left_out = [example.part.frame for example in examples[pictures:]]
    return join(
        [
            tag("h3", heading),
            tag("p", words),
            colour_legend(note) if painted else None,
            gallery(shown) if shown else None,
            tag("p", "Without picture: ", ", ".join(shorten(n) for n in left_out), class_="note")
            if left_out
            else None,
        ]
    )


def _example(example: Example, run: Run) -> Markup:
    part = example.part
    name = shorten(part.frame)
    place = relative(part.score, run.operating.threshold)
    caption: list[Child] = [
        verdict(part.is_anomalous),
        f" · {part.defect} · score {part.score:.4g} ({place})",
    ]
    if part.p_value is not None:
        caption.append(f" · p = {part.p_value:.3g}")
    caption += [tag("br"), tag("span", name, class_="file")]
    return figure(example.picture, name, caption)


def verdict(is_anomalous: bool) -> Markup:
    """`rejected` or `accepted`, coloured."""
    words, side = ("rejected", "out") if is_anomalous else ("accepted", "in")
    return tag("span", words, class_=f"verdict {side}")


def relative(score: float, threshold: float) -> str:
    """A score seen from the threshold."""
    if threshold <= 0 or not math.isfinite(score / threshold):
        return f"threshold {threshold:.4g}"
    return f"{score / threshold:.2f} × threshold"
