"""The writer of HTML: nothing a file name holds becomes markup."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st
from report_builders import NASTY, Page

from anomalib_lite.report.html import Markup, clean, escape, number, shorten, tag


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "a < b & c", Markup("<br>")) == "<p>a &lt; b &amp; c<br></p>"


def test_attributes_are_escaped_and_named_as_in_html() -> None:
    written = tag("img", alt='say "x"', class_="big", aria_label="y", data_value=None, hidden=True)
    assert written == '<img alt="say &quot;x&quot;" class="big" aria-label="y" hidden>'


def test_a_nasty_file_name_stays_text() -> None:
    page = Page.of(tag("p", NASTY, title=NASTY))
    assert page.tags == [("p", {"title": NASTY})]
    assert page.text.strip() == NASTY


@given(st.text())
def test_any_text_comes_back_as_text(text: str) -> None:
    page = Page.of(tag("td", text, title=text))
    assert [name for name, _ in page.tags] == ["td"]
    assert page.all("td")[0]["title"] == clean(text).replace("\r\n", "\n")


@given(st.text(st.characters(categories=["Cs", "Cc", "Cf", "L"])))
def test_any_text_can_be_written_as_utf_8(text: str) -> None:
    escape(text).encode("utf-8")


def test_characters_that_nobody_sees_are_made_visible() -> None:
    assert clean("a\x00b\u202egnp.exe") == "a\ufffdb\ufffdgnp.exe"
    assert clean("\udcff.png") == "?.png"


def test_a_long_name_loses_its_middle() -> None:
    short = shorten("a" * 100 + "/last.png", 30)
    assert len(short) == 30
    assert short.endswith("/last.png")
    assert shorten("brief") == "brief"


def test_coordinates_are_short() -> None:
    assert [number(v) for v in (1.0, 0.125, -0.001, 12.5)] == ["1", "0.12", "0", "12.5"]


def test_reports_need_only_the_base_install() -> None:
    blocked = ("torch", "torchvision", "timm", "scipy", "sklearn", "matplotlib", "jinja2", "onnx")
    code = (
        "import sys, pkgutil, importlib\n"
        f"sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "import anomalib_lite.report as report\n"
        "for module in pkgutil.iter_modules(report.__path__):\n"
        "    importlib.import_module(f'anomalib_lite.report.{module.name}')\n"
        "import anomalib_lite.cli.report, anomalib_lite.cli.score\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
