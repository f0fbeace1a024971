"""Names for shell completion, found without loading what they name."""

from __future__ import annotations

import re
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_NAMED = re.compile(r"^@register_scorer\nclass .*?^    name(?:: [^=\n]+)? = \"(\w+)\"", re.M | re.S)


def detector_names() -> list[str]:
    """Names of the scorers, read from the text of their files: torch takes seconds to load."""
    texts = (path.read_text() for path in (_PACKAGE / "scorers").glob("*/*.py"))
    return sorted(name for text in texts for name in _NAMED.findall(text))


def complete_detector(incomplete: str) -> list[str]:
    """Detectors that go on from what was typed; after a `+` one more."""
    before, plus, last = incomplete.rpartition("+")
    return [f"{before}{plus}{name}" for name in detector_names() if name.startswith(last)]


def complete_backbone(incomplete: str) -> list[str]:
    """Backbones in the package; timm's hundreds of names are not listed."""
    shipped = sorted(path.stem for path in (_PACKAGE / "backbones/shipped").glob("*.safetensors"))
    return [name for name in [*shipped, "resnet18"] if name.startswith(incomplete)]
