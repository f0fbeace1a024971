"""Fixtures of the audit and of down-weighting."""

import pytest

from anomalib_lite.data.parts import render


@pytest.fixture(scope="session")
def mixed():
    """Twenty-four parts; numbers 3, 11 and 20 are bad."""
    kinds = {3: "swarf", 11: "missing_hole", 20: "extra_hole"}
    return [
        render("flange", seed=3, index=i, size=96, defect=kinds.get(i)).image for i in range(24)
    ]
