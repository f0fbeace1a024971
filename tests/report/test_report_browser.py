"""The page in a real browser, where one is installed: the script runs and nothing is blocked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from report_builders import NASTY, Page, run

from anomalib_lite.report.data import ReportData
from anomalib_lite.report.evaluation import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
)


@pytest.mark.skipif(BROWSER is None, reason="no browser is installed")
def test_a_browser_runs_the_sorting_script_and_blocks_nothing(tmp_path: Path) -> None:
    path = write_report(ReportData(NASTY, (run(data=NASTY),)), tmp_path / "report.html")
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, path.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    found = Page.of(done.stdout)
    assert len(found.all("button")) >= 8
    assert len(found.all("script")) == 1
    assert "CONSOLE" not in done.stderr
