"""`anomalib-lite fit --set shrinkage=...`, as a user meets it."""

import pytest

from anomalib_lite import Detector

FIT = ("--detector", "padim", "--backbone", "filters", "--image-size", "64")


@pytest.mark.parametrize("amount", ["1", "0.25", "auto"])
def test_shrinkage_is_a_setting_of_the_command_line(run, good_folder, tmp_path, amount):
    part = tmp_path / "part.safetensors"
    status, _, err = run("fit", good_folder, "--out", part, *FIT, "--set", f"shrinkage={amount}")
    assert status == 0, err
    scorer = Detector.load(part).scorer
    assert scorer.shrinkage == (amount if amount == "auto" else float(amount))
    assert hasattr(scorer, "shrinkage_") == (amount == "auto")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["shrinkage=2"], "shrinkage is 2; choose a number from 0 to 1, or auto"),
        (["shrinkage=1", "compact=2"], "both share covariances; choose one"),
    ],
)
def test_what_it_cannot_be_is_said_in_one_line(run, good_folder, tmp_path, given, message):
    part = tmp_path / "part.safetensors"
    words = [word for item in given for word in ("--set", item)]
    status, _, err = run("fit", good_folder, "--out", part, *FIT, *words)
    assert status != 0
    assert message in err
    assert "Traceback" not in err
    assert not part.exists()
