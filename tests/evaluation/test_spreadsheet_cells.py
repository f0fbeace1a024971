"""Cells of metrics.csv are never formulas."""

import csv
import io

import pytest

from anomalib_lite.evaluation import summary


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-lot", "'-lot"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("bottle", "bottle"),
        ("a=b", "a=b"),
        ("", ""),
        (-0.5, "-0.5"),
        (-3, "-3"),
        (None, ""),
    ],
)
def test_text_that_a_spreadsheet_would_compute_is_quoted(value, cell, monkeypatch):
    monkeypatch.setattr(summary, "flat_row", lambda record: record)
    text = summary.to_csv([{"category": value, "seed": 0}])
    assert next(csv.DictReader(io.StringIO(text)))["category"] == cell
