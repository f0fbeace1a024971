"""The help: 80 columns, panels, choices, `-h`, and what only one detector has."""

import inspect
from typing import get_args

import pytest
import typer.rich_utils

from anomalib_lite.backbones.pdn import Size
from anomalib_lite.cli import distill, evaluate, main, options
from anomalib_lite.cli.help import named_detector
from anomalib_lite.cli.names import complete_detector, detector_names
from anomalib_lite.edge.frames import Exif
from anomalib_lite.edge.prepare import Alpha, Colour
from anomalib_lite.evaluation import MapResolution
from anomalib_lite.scorers import describe_settings, list_scorers

NAMES = [command.__name__.replace("_", "-") for many in main.COMMANDS.values() for command in many]
COMPUTES = ("fit", "evaluate", "score", "score-pool", "audit", "export", "check", "bench")
TRAINS = {"efficientad", "stfpm", "draem", "reconstruction"}


@pytest.fixture
def shown(run, monkeypatch):
    """Help on a screen of 80 columns."""

    def call(*arguments):
        # Read from the environment when it is imported, by whichever test comes first.
        monkeypatch.setattr(typer.rich_utils, "MAX_WIDTH", 80)
        status, out, err = run(*arguments)
        assert (status, err) == (0, "")
        return out

    return call


@pytest.mark.parametrize("name", NAMES)
def test_help_fits_on_80_columns_and_has_a_short_form(shown, name):
    text = shown(name, "--help")
    assert shown(name, "-h") == text
    assert max(map(len, text.splitlines())) <= 80


def test_commands_stand_in_panels(shown):
    text = shown("--help")
    assert all(panel in text for panel in main.COMMANDS)
    assert all(name in text for name in NAMES)


@pytest.mark.parametrize("name", [*COMPUTES, "distill", "update"])
def test_whatever_computes_has_threads(shown, name):
    assert "--threads" in shown(name, "--help")


def test_the_plain_help_of_fit_leaves_out_what_one_detector_has(shown):
    text = shown("fit", "--help")
    assert "--minutes" not in text
    assert "Settings of" not in text


@pytest.mark.parametrize("detector", list_scorers())
def test_the_help_with_a_detector_shows_its_settings(run, detector):
    _, text, _ = run("fit", "--detector", detector, "--help")
    for setting in describe_settings(detector):
        assert setting.name.replace("_", "-") in text or setting.name in text
        assert setting.text
    assert ("--minutes" in text) == (detector in TRAINS)


def test_the_help_of_a_fusion_shows_the_settings_of_its_parts(shown):
    text = shown("fit", "-h", "--detector=padim+mvg")
    for name in ("trust", "padim.sigma", "mvg.variance"):
        assert name in text


def test_the_help_with_an_unknown_detector_is_one_line(run):
    status, _, err = run("fit", "--detector", "padmi", "--help")
    assert status == 2
    assert "did you mean padim?" in err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("--detector mvg -h", "mvg"),
        ("-h --detector=knn", "knn"),
        ("--detector", None),
        ("--detector --help", None),
        ("-h", None),
    ],
)
def test_the_detector_is_found_in_an_incomplete_line(words, name):
    assert named_detector(words.split()) == name


@pytest.mark.parametrize(
    ("repeated", "owner"),
    [
        (options.Colour, Colour),
        (options.Alpha, Alpha),
        (options.Exif, Exif),
        (distill.Size, Size),
        (evaluate.MapResolution, MapResolution),
    ],
)
def test_choices_are_those_of_the_modules_that_own_them(repeated, owner):
    assert set(get_args(repeated)) == set(get_args(owner))


def test_completion_knows_every_detector():
    assert detector_names() == list_scorers()
    assert complete_detector("pa") == ["padim", "patchcore"]
    assert complete_detector("padim+m") == ["padim+musc", "padim+mvg"]


def test_completion_scripts_are_offered(run, monkeypatch):
    monkeypatch.setenv("_ANOMALIB_LITE_COMPLETE", "source_bash")
    status, out, _ = run()
    assert status == 0
    assert "_ANOMALIB_LITE_COMPLETE" in out


@pytest.mark.parametrize("name", ["fit", "evaluate", "score_pool", "distill", "score"])
def test_a_command_reads_its_groups_as_flat_options(name):
    command = next(c for many in main.COMMANDS.values() for c in many if c.__name__ == name)
    assert {"threads", "out"} <= set(inspect.signature(command).parameters)
