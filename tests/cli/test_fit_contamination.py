"""`anomalib-lite fit --contamination` from end to end."""

import json

import cv2
import pytest

from anomalib_lite import Detector
from anomalib_lite.curation.pool_audit import audit_by_pool, pool_for
from anomalib_lite.data.parts import render
from anomalib_lite.edge import SettingsError
from anomalib_lite.transductive.pool import PROTOCOL

FIT = ["--backbone", "filters", "--detector", "padim", "--image-size", "64"]
FIT += ["--set", "num_features=12"]
BAD = ("03<b>.png", "11.png", "20.png")
BY_POOL = ["--detector", "mvg", "--image-size", "128", "--audit-by", "musc"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Twenty-four parts, three of them bad; one name would be markup."""
    folder = tmp_path_factory.mktemp("mixed") / "train"
    folder.mkdir()
    kinds = dict(zip((3, 11, 20), ("swarf", "missing_hole", "extra_hole"), strict=True))
    for i in range(24):
        image = render("flange", seed=3, index=i, size=96, defect=kinds.get(i)).image
        name = BAD[0] if i == 3 else f"{i:02d}.png"
        cv2.imwrite(str(folder / name), image[:, :, ::-1])
    return folder


@pytest.fixture
def part(tmp_path):
    return tmp_path / "part.safetensors"


def test_audit_lists_the_suspects_and_fits_on_everything(run, mixed, part):
    status, out, _ = run("fit", mixed, "--out", part, *FIT, "--contamination", "audit")
    assert status == 0
    assert "3 of 24 images are suspects" in out
    for name in BAD:
        assert name in out
    assert Detector.load(part).data.images == 24
    listing = json.loads(part.with_suffix(".audit.json").read_text())
    assert [entry["position"] for entry in listing["entries"][:3]] != [0, 1, 2]
    assert {entry["name"] for entry in listing["entries"][:3]} == {str(mixed / n) for n in BAD}
    assert listing["images"] == 24
    assert listing["suspects"] == 3


def test_exclude_leaves_the_suspects_out_and_the_promise_says_so(run, mixed, part):
    status, out, _ = run("fit", mixed, "--out", part, *FIT, "--contamination", "exclude")
    assert status == 0
    fitted = Detector.load(part)
    assert fitted.data.images == 21
    assert "3 suspected image(s) left out after an audit" in fitted.calibration.method
    assert "3 suspected image(s) left out after an audit" in out
    assert part.with_suffix(".audit.json").exists()


def test_downweight_counts_odd_images_less_and_says_what_is_promised(run, mixed, part):
    status, out, _ = run("fit", mixed, "--out", part, *FIT, "--contamination", "downweight")
    assert status == 0
    fitted = Detector.load(part)
    assert fitted.data.images == 21
    assert any(record.sample_weight < 1 for record in fitted.data.records)
    assert "3 image(s) left out" in out
    assert fitted.calibration.operating.explain() in out
    assert "down-weighted" in fitted.calibration.method
    written = part.read_bytes()
    run("fit", mixed, "--out", part, *FIT, "--contamination", "downweight")
    assert part.read_bytes() == written


def test_downweight_is_refused_before_any_work_where_a_scorer_cannot(run, mixed, part):
    arguments = ["--detector", "knn", "--image-size", "64", "--contamination", "downweight"]
    status, _, err = run("fit", mixed, "--out", part, *arguments)
    assert status == 2
    assert "knn cannot weigh images; these can: " in err
    assert "Traceback" not in err
    assert list(part.parent.iterdir()) == []


def test_trust_is_the_default_and_writes_no_audit(run, mixed, part):
    assert run("fit", mixed, "--out", part, *FIT)[0] == 0
    assert [path.name for path in part.parent.iterdir()] == ["part.safetensors"]
    plain = part.read_bytes()
    run("fit", mixed, "--out", part, *FIT, "--contamination", "audit")
    assert part.read_bytes() == plain


def test_the_page_shows_the_suspects_is_complete_and_escapes_names(run, mixed, part):
    run("fit", mixed, "--out", part, *FIT, "--contamination", "audit")
    page = part.with_suffix(".audit.html").read_text()
    assert page.count("<figure>") == 3
    assert page.count("data:image/jpeg;base64,") == 6
    assert "03&lt;b&gt;.png" in page
    assert "03<b>.png" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_a_page_without_suspects_says_so(run, good_folder, part):
    arguments = [*FIT[:2], "--image-size", "64", "--detector", "mvg", "--contamination", "audit"]
    assert run("fit", good_folder, "--out", part, *arguments)[0] == 0
    page = part.with_suffix(".audit.html").read_text()
    assert "No image stands out" in page
    assert "<figure>" not in page


def test_the_same_images_give_the_same_audit_files(run, mixed, part):
    written = []
    for _ in range(2):
        run("fit", mixed, "--out", part, *FIT, "--contamination", "exclude")
        written.append([path.read_bytes() for path in sorted(part.parent.iterdir())])
    assert written[0] == written[1]


def test_unreadable_images_are_listed_in_the_audit_and_give_status_three(run, mixed, part):
    broken = mixed / "99.png"
    broken.write_bytes(b"no picture")
    try:
        status, _, _ = run("fit", mixed, "--out", part, *FIT, "--contamination", "exclude")
    finally:
        broken.unlink()
    assert status == 3
    assert list(json.loads(part.with_suffix(".audit.json").read_text())["skipped"]) == [str(broken)]
    assert "99.png" in part.with_suffix(".audit.html").read_text()
    assert Detector.load(part).data.images == 21


def test_an_unknown_choice_is_one_line(run, mixed, part):
    status, _, err = run("fit", mixed, "--out", part, *FIT, "--contamination", "delete")
    assert status == 2
    assert "choose one of trust, audit, exclude, downweight" in err
    assert not part.exists()


def test_an_audit_by_mutual_score_finds_the_planted_suspects(run, mixed, part):
    status, out, err = run("fit", mixed, "--out", part, *BY_POOL, "--contamination", "audit")
    assert status == 0, err
    assert "3 of 24 images are suspects" in out
    assert f"protocol {PROTOCOL}" in out
    assert "audit: a pool of 24 images, each judged by the others: about" in err
    listing = json.loads(part.with_suffix(".audit.json").read_text())
    assert {entry["name"] for entry in listing["entries"][:3]} == {str(mixed / n) for n in BAD}
    assert {entry["position"] for entry in listing["entries"][:3]} == {3, 11, 20}
    assert (listing["detector"], listing["backbone"]) == ("musc", "pdn_edge")
    assert listing["protocol"] == PROTOCOL
    page = part.with_suffix(".audit.html").read_text()
    assert "Images that stand out of their pool" in page
    assert PROTOCOL in page
    assert page.count("<figure>") == 3
    assert page.count("data:image/jpeg;base64,") == 6
    assert Detector.load(part).data.images == 24


def test_suspects_by_mutual_score_are_left_out_or_weighed_as_others_are(run, mixed, part):
    run("fit", mixed, "--out", part, *BY_POOL, "--contamination", "exclude")
    assert Detector.load(part).data.images == 21
    assert "3 suspected image(s) left out" in Detector.load(part).calibration.method
    status, out, err = run("fit", mixed, "--out", part, *BY_POOL, "--contamination", "downweight")
    assert status == 0, err
    assert "3 image(s) left out" in out
    assert sorted(path.suffix for path in part.parent.iterdir()) == [".html", ".json", part.suffix]


def test_who_ranks_does_not_change_the_fit_and_the_default_is_the_detector(run, mixed, part):
    written = []
    for options in ([], ["--audit-by", "detector"]):
        assert run("fit", mixed, "--out", part, *FIT, "--contamination", "audit", *options)[0] == 0
        written.append([path.read_bytes() for path in sorted(part.parent.iterdir())])
    assert written[0] == written[1]
    assert "protocol" not in json.loads(part.with_suffix(".audit.json").read_text())
    fitted = part.read_bytes()
    run("fit", mixed, "--out", part, *FIT, "--contamination", "audit", "--audit-by", "musc")
    assert part.read_bytes() == fitted
    assert json.loads(part.with_suffix(".audit.json").read_text())["backbone"] == "filters"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--audit-by", "musc"], "add --contamination audit"),
        (["--audit-by", "knn", "--contamination", "audit"], "choose one of detector, musc"),
    ],
)
def test_a_choice_of_judge_that_cannot_be_is_one_line(run, mixed, part, options, message):
    status, _, err = run("fit", mixed, "--out", part, *FIT, *options)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert not part.exists()


def test_an_audit_by_mutual_score_sees_what_the_detector_sees(mixed):
    detector = Detector("padim", backbone="filters", image_size=(64, 96), num_features=12, seed=5)
    pool = pool_for(detector)
    assert pool.backbone is detector.backbone
    assert pool.spec.to_dict() == detector.spec.to_dict()
    assert pool.seed == 5
    report = audit_by_pool(pool, mixed)
    assert report.entries[0].position in (3, 11, 20)
    assert [entry.trusted for entry in report.entries] == [
        entry.weight > 0 for entry in report.entries
    ]


def test_layers_without_patches_cannot_be_compared():
    settings = {"backbone": "resnet18", "layers": ["layer4"], "weights": "random"}
    detector = Detector("mvg", image_size=32, **settings)
    with pytest.raises(SettingsError, match="layer4 of resnet18 has none"):
        pool_for(detector)


def test_audit_says_what_the_threshold_would_be_without_the_suspects(run, mixed, part):
    _, out, _ = run("fit", mixed, "--out", part, *FIT, "--contamination", "audit")
    assert "suspect(s) are part of the fit and of its threshold" in out
    assert "without their scores it would be" in out
    assert "--contamination exclude" in out
