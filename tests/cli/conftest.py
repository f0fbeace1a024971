"""Running a command in this process."""

import sys

import pytest

from anomalib_lite.cli import main as cli_main


@pytest.fixture
def run(monkeypatch, capfd):
    """Run a command in this process; gives status, stdout, stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["anomalib-lite", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        try:
            cli_main.run()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        out, err = capfd.readouterr()
        return status, out, err

    return call
