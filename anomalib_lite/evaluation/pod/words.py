"""What a study found, in words that say what was not reached."""

from __future__ import annotations

from anomalib_lite.evaluation.pod.study import FamilyResult, enough_hits

PROMISE = (
    "Measured on simulated defects, on these good images, at this threshold: it says how small "
    "such a defect may be, not that real ones of that size are found. Real defects differ in edge, "
    "light and place; acceptance takes real or artificial ones on real parts."
)


def size_words(result: FamilyResult, size: float | None, mm_per_pixel: float | None) -> str:
    """A size with its unit: `9.1 px`, `3.1 x 40 px (0.16 x 2 mm)`; a dash for none."""
    if size is None:
        return "–"
    sides = [size]
    if result.slenderness:
        sides = [max(1.0, size / result.slenderness), size]
    pixels = " x ".join(f"{side:.3g}" for side in sides) + " px"
    if mm_per_pixel is None:
        return pixels
    return pixels + " (" + " x ".join(f"{side * mm_per_pixel:.2g}" for side in sides) + " mm)"


def verdict(result: FamilyResult, mm_per_pixel: float | None = None) -> str:
    """One line: what is found in nine of ten cases, or why that cannot be said."""
    count, low, high = len(result.trials), *result.tried
    tried = f"{low:.3g} to {high:.3g} px"
    standing = result.curve.standing
    if standing == "all found":
        shown = " (90 % is shown with 95 % confidence)" if enough_hits(result) else ""
        return f"all {count} found, {tried}{shown}; smaller ones were not tried"
    if standing == "none found":
        return f"a90 is not reached: none of {count} was found, {tried}"
    if standing == "flat":
        return (
            f"a90 is not reached: {result.hits} of {count} were found, and size makes no "
            f"difference, {tried}"
        )
    if result.a90 is None:
        return f"a90 is not reached: {result.hits} of {count} were found, {tried}"
    bound = size_words(result, result.a90_95, mm_per_pixel)
    ending = f"at most {bound} with 95 % confidence" if result.a90_95 else "no upper bound"
    said = f"90 % are found from {size_words(result, result.a90, mm_per_pixel)} on, {ending}"
    if standing == "separated":
        said += "; hits and misses do not overlap, so the slope is not known: try more sizes"
    return said
