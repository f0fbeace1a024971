"""A scorer that needs something special must not spread through the package."""

import re
from pathlib import Path

import anomalib_lite

PACKAGE = Path(anomalib_lite.__file__).parent
GDA = re.compile(r"\bgda\b|GDA|PerProduct|product_scores|product_names|PRODUCT_SCORES|ProductGraph")


def test_gda_and_its_extra_output_are_named_in_at_most_three_files_outside_their_family():
    family = PACKAGE / "scorers" / "gaussian"
    naming = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if family not in path.parents and GDA.search(path.read_text())
    }
    assert len(naming) <= 3, sorted(naming)
