"""What the production report says of each verdict on drift; undetected defects come first."""

from __future__ import annotations

ADVICE: dict[str, tuple[str, str, str]] = {
    "few": (
        "Too few frames to see a drift",
        "At least 20 frames and 10 calibration images are needed. Until then only a person can "
        "tell whether defects pass.",
        "",
    ),
    "flood": (
        "More than half of the frames are rejected",
        "Either these parts are defective, or lamp, lens, position or material have changed. Look "
        "at the rejected frames: colour in one place is a defect; colour all over a good-looking "
        "part means that the scene has changed.",
        "bad",
    ),
    "none": (
        "No drift seen",
        "Frames that pass score like the good images of the calibration. The scene has hardly "
        "changed; that does not prove that no defect has passed.",
        "fine",
    ),
    "higher": (
        "Undetected defects, or a drift: frames that pass score higher than the calibration images",
        "Look for defects first. If there are any, the model does not reject this kind: never add "
        "such frames to the fit; a lower threshold (--max-false-reject), larger pictures "
        "(--image-size) or another detector may find them. If all frames are good, lamp, lens, "
        "position or material have changed, and more good parts will be rejected than promised: "
        "mend that, or add frames that a person has found good to the fit and calibrate again.",
        "bad",
    ),
    "lower": (
        "Undetected defects, or a drift: frames that pass score lower than the calibration images",
        "The scene has become easier, darker or blurred, and a defect may score below the "
        "threshold. Check focus and lamp; if the change is wanted, fit and calibrate again with "
        "good images of it.",
        "bad",
    ),
}
"""Verdict of the drift -> headline, what to do, kind of the hint."""

COMPARED = (
    "Drift is a change of the scene (lamp, lens, position, material) that moves the scores of good "
    "parts. Accepted frames are compared with the calibration images that would be accepted. "
)
SAID = {
    "few": "Too few frames to compare.",
    "flood": "With more than half of the frames rejected, too little is left to compare.",
    "none": "The two do not differ notably.",
    "higher": "Accepted frames score higher: undetected defects raise scores, and so does drift.",
    "lower": "Accepted frames score lower: defects score lower, too, and may pass undetected.",
}
P_VALUES = (
    "The p-value of a frame is the share of good frames expected to score at least as high. "
    "Were all frames good and like the calibration images, every bar would be near the dashed "
    "line. A heap at the left end is defects; a slope over the whole width is drift."
)
