"""Which images show one part, by their names."""

import pytest

from anomalib_lite.data.grouping import groups_of
from anomalib_lite.edge.errors import SettingsError

NAMES = ["a/part07_1.png", "a/part07_2.png", "b/part08_1.png", "top.png"]


@pytest.mark.parametrize(
    ("names", "rule", "groups"),
    [
        (NAMES, "none", None),
        (NAMES, "auto", None),
        (NAMES, "folder", ["a", "a", "b", "."]),
        (NAMES[:3], r"part(\d+)_", ["07", "07", "08"]),
        (NAMES[:3], r"part\d+", ["part07", "part07", "part08"]),
        (NAMES[:3], r"(.)/part(\d)", ["a/0", "a/0", "b/0"]),
        (NAMES, "block:3", ["block 0", "block 0", "block 0", "block 1"]),
        (
            [f"v.mp4#{i:06d}" for i in range(20)],
            "auto",
            [f"v.mp4, block {i // 2}" for i in range(20)],
        ),
        (["v.mp4#000001", "x.png"], "auto", ["v.mp4, block 1", ""]),
        (["frames in memory#000001", "frames in memory#000002"], "auto", None),
        (["scan.tif#2", "scan.tif#3"], "auto", None),  # pages are pictures of their own
    ],
)
def test_names_tell_the_part(names, rule, groups):
    assert groups_of(names, rule) == groups


def test_a_long_video_is_cut_into_blocks_of_a_second():
    found = groups_of([f"v.mp4#{i:06d}" for i in range(500)], "auto")
    assert len(set(found)) == 20


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("part(", "no regular expression"),
        ("board(\\d+)", "finds nothing in 'a/part07_1.png'"),
        ("block:0", "block:25"),
        ("block:x", "block:25"),
        ("absent.csv", "cannot be read"),
    ],
)
def test_rules_that_cannot_be_followed_are_refused(rule, words):
    with pytest.raises(SettingsError, match=words):
        groups_of(NAMES, rule)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name,group\na/part07_1.png,P\npart07_2.png,P\nb/part08_1.png,Q\ntop.png,T\n", "PPQT"),
        ("a/part07_1.png,P\n", "has no line for a/part07_2.png"),
        ("a/part07_1.png,P,3\n", "line 1 has 3 columns"),
        ("top.png,P\ntop.png,Q\n", "is in 'P' and in 'Q'"),
    ],
)
def test_a_list_names_the_group_of_each_image(tmp_path, text, found):
    path = tmp_path / "groups.csv"
    path.write_text(text)
    if len(found) == 4:
        assert groups_of(NAMES, str(path)) == list(found)
    else:
        with pytest.raises(SettingsError, match=found):
            groups_of(NAMES, str(path))
