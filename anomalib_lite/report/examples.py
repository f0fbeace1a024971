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


def worst_frames(run: Run, pictures: tuple[int, int]) -> Markup:
    """Good parts that were rejected and defects that passed, or the nearest to it.

    Args:
        run: the run.
        pictures: how many of each may be shown; the others are named.
    """
    rejects, missed = _shown_rejects(run), _shown_misses(run)
    shown = [*rejects[: pictures[0]], *missed[: pictures[1]]]
    note = "The blue outline is the labelled defect."
    outlined = any(example.outlined for example in shown)
    painted = any(example.picture and example.picture.heat for example in shown)
    return join(
        [
            tag("h3", "Worst false rejects"),
            colour_legend(note if outlined else None) if painted else None,
            _examples(_reject_words(run), rejects, run, pictures[0]),
            tag("h3", "Worst misses"),
            _examples(_miss_words(run), missed, run, pictures[1]),
        ]
    )


def _reject_words(run: Run) -> str:
    if not run.good:
        return "No good part was tested."
    if not run.rejected_good:
        return "No good part was rejected. The highest scores:"
    return f"Rejected: {counted(run.rejected_good, len(run.good))} good parts, highest score first."


def _miss_words(run: Run) -> str:
    missed = len(run.anomalous) - run.found
    if not run.anomalous:
        return "No part with a defect was tested."
    if not missed:
        return "No defective part passed. The lowest scores:"
    return f"Passed: {counted(missed, len(run.anomalous))} defective parts, lowest score first."


def _shown_rejects(run: Run) -> list[Example]:
    """Rejected good parts, or the nearest to it when none was."""
    rejected = [example for example in run.false_rejects if example.part.is_anomalous]
    return rejected or list(run.false_rejects[: 0 if run.rejected_good else _NEAREST])


def _shown_misses(run: Run) -> list[Example]:
    missed = [example for example in run.misses if not example.part.is_anomalous]
    some = run.found < len(run.anomalous)
    return missed or list(run.misses[: 0 if some else _NEAREST])


def _examples(words: str, examples: Sequence[Example], run: Run, pictures: int) -> Markup:
    figures = [_example(example, run) for example in examples[:pictures]]
    named = ", ".join(shorten(example.part.frame) for example in examples[pictures:])
    return join(
        [
            tag("p", words),
            gallery(figures) if figures else None,
            tag("p", f"Without picture: {named}", class_="note") if named else None,
        ]
    )


def _example(example: Example, run: Run) -> Markup:
    part = example.part
    name = shorten(part.frame)
    place = relative(part.score, run.operating.threshold)
    caption: list[Child] = [
        verdict(part.is_anomalous, wrong=part.is_anomalous != bool(part.label)),
        f" · {part.defect} · score {part.score:.4g} ({place})",
    ]
    if part.p_value is not None:
        caption.append(f" · p\u00a0=\u00a0{part.p_value:.3g}")
    caption += [tag("br"), tag("span", name, class_="file")]
    return figure(example.picture, name, caption)


def verdict(is_anomalous: bool, *, wrong: bool) -> Markup:
    """`rejected` or `accepted`; red where that is the wrong decision, or may be."""
    words = "rejected" if is_anomalous else "accepted"
    return tag("span", words, class_=f"verdict {'bad' if wrong else 'fine'}")


def relative(score: float, threshold: float) -> str:
    """A score seen from the threshold."""
    if threshold <= 0 or not math.isfinite(score / threshold):
        return f"{score - threshold:+.4g} from the threshold"
    return f"{score / threshold:.2f} ×\u00a0threshold"
