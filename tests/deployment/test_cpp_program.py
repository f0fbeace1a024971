"""`deploy/cpp`: the same prepared bytes and the same verdicts as the Python package."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from picture_files import encoded, with_exif

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.cli.score import score_to_folder
from anomalib_lite.data.parts import render
from anomalib_lite.edge import prepare, read_frame
from anomalib_lite.edge.engines import open_engine
from anomalib_lite.edge.model_files.integrity import UNSEALED, seal
from anomalib_lite.edge.model_files.metadata import METADATA_KEY
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.runs.run_record import Judge, RunRecord
from anomalib_lite.edge.sources import open_source

FIXTURES = Path(__file__).parents[1] / "fixtures"
FILES = sorted(path.name for path in FIXTURES.glob("*.onnx"))
TOLERANCE = 1e-5
CANNOT_BE_USED, SOME_UNUSABLE = 2, 3
SIZES = [(64, 64), (48, 48), (63, 65), (97, 97), (333, 320), (1024, 1024)]


def lines(done):
    """What was printed, one object a line."""
    return [json.loads(line) for line in done.stdout.splitlines()]


def saw(folder, count):
    """What the network saw, RGB."""
    return [cv2.imread(str(folder / f"{index}.png"))[:, :, ::-1] for index in range(count)]


def written(folder, pictures, suffix=".png"):
    """Pictures as files, named in order."""
    paths = [folder / f"frame{index:02d}{suffix}" for index in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        path.write_bytes(encoded(suffix, picture))
    return paths


def agrees(line, prediction):
    """Whether a printed line is the package's verdict."""
    want = prediction.to_dict()
    assert line["p_value"] == pytest.approx(want["p_value"])
    assert line["is_anomalous"] == want["is_anomalous"]
    assert line["score"] == pytest.approx(want["score"], rel=TOLERANCE)
    assert len(line["regions"]) == len(want["regions"])
    for found, region in zip(line["regions"], want["regions"], strict=True):
        assert found == pytest.approx(region, rel=TOLERANCE)
    assert line.get("extra", {}).keys() == want.get("extra", {}).keys()
    for name, numbers in want.get("extra", {}).items():
        assert line["extra"][name] == pytest.approx(numbers, rel=TOLERANCE)
    return True


@pytest.mark.parametrize("name", FILES)
def test_every_detector_gets_the_verdicts_of_the_package(part_score, tmp_path, name):
    frames = list(np.load(FIXTURES / "frames.npz")["frames"])
    odd = frames[0].copy()
    odd[20:50, 10:40] = [255, 0, 255]
    paths = written(tmp_path, [*frames, odd])
    done = part_score("--threads", 1, FIXTURES / name, *paths)
    model = EdgeModel(FIXTURES / name)
    assert done.returncode == 0, done.stderr
    found = lines(done)
    assert found[2]["is_anomalous"]
    assert all(agrees(line, model.predict(path)) for line, path in zip(found, paths, strict=True))


def test_prepared_bytes_are_the_same_at_any_size(part_score, tmp_path, rng):
    pictures = []
    for rows, columns in SIZES:
        noise = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
        part = render("flange", seed=0, index=1, size=96).image
        pictures += [noise, noise[:, :, 0].copy(), cv2.resize(part, (columns, rows))]
    paths = [*written(tmp_path, pictures), *written(tmp_path, pictures, ".jpg")]
    model = EdgeModel(FIXTURES / "patchcore.onnx")
    done = part_score("--prepared", tmp_path, model.path, *paths)
    assert done.returncode == 0, done.stderr
    for got, path in zip(saw(tmp_path, len(paths)), paths, strict=True):
        np.testing.assert_array_equal(got, prepare(read_frame(path), model.spec))


def half_looked_at(spec):
    """The spec, limited to a disc."""
    mask = np.zeros((96, 96), np.uint8)
    cv2.circle(mask, (50, 40), 30, 255, -1)
    return spec.with_roi(mask)


DECLARED = {
    "grey, mixed axes": (InputSpec(height=48, width=112, colour="grey"), 8),
    "region, exif ignored": (half_looked_at(InputSpec(height=64, width=64, exif="ignore")), 8),
    "region, 12 bits": (half_looked_at(InputSpec(height=64, width=72, bit_depth=12)), 12),
    "dropped alpha": (InputSpec(height=64, width=64, alpha="ignore"), 8),
}


@pytest.mark.parametrize("kind", DECLARED)
def test_declared_frames_are_prepared_alike(part_score, tmp_path, good_frames, kind):
    spec, bits = DECLARED[kind]
    good = [frame.astype(np.uint16) * 16 if bits > 8 else frame for frame in good_frames]
    detector = Detector("mvg", backbone="filters", image_size=spec).fit(good)
    detector.export(tmp_path / "part.onnx")
    model = EdgeModel(tmp_path / "part.onnx")
    frames = [good[0], good[1][:, :, 1].copy() if not model.spec.coloured else good[1]]
    if spec.alpha == "ignore":
        frames.append(np.dstack([good[2], good[2][:, :, 0]]))
    paths = written(tmp_path, frames)
    if bits == 8:
        jpeg = encoded(".jpg", good[3])
        paths += [tmp_path / f"turned{value}.jpg" for value in (3, 6, 8)]
        for path, value in zip(paths[-3:], (3, 6, 8), strict=True):
            path.write_bytes(with_exif(jpeg, value))
    done = part_score("--prepared", tmp_path, model.path, *paths)
    assert done.returncode == 0, done.stderr + done.stdout
    for line, got, path in zip(lines(done), saw(tmp_path, len(paths)), paths, strict=True):
        frame = read_frame(path, exif=spec.exif)
        np.testing.assert_array_equal(got, prepare(frame, model.spec))
        assert agrees(line, model.predict(path))


def test_its_lines_are_those_of_score(part_score, tmp_path, good_folder, padim_files):
    model = EdgeModel(padim_files[1])
    digest = part_score(padim_files[1], next(good_folder.iterdir()))
    sha256 = lines(digest)[0]["model_sha256"]
    record = RunRecord(Judge(model.path, sha256, model.calibration, model.about), "", {}, {})
    source = open_source(str(good_folder))
    score_to_folder(model, source, tmp_path, record, heatmaps=False, batch=1)
    told = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    found = lines(part_score(model.path, *sorted(good_folder.iterdir())))
    assert [list(line) for line in found] == [list(line) for line in told]
    for mine, theirs in zip(found, told, strict=True):
        assert Path(mine["frame"]).name == Path(theirs["frame"]).name
        for name in ("threshold", "promised_false_reject", "is_anomalous"):
            assert mine[name] == theirs[name]


def refused(done, *words):
    """One line on stderr, nothing judged, exit status 2."""
    assert done.returncode == CANNOT_BE_USED
    assert not done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert all(word in done.stderr for word in words), done.stderr
    return True


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_damaged_file_is_refused(part_score, tmp_path, place):
    data = bytearray((FIXTURES / "patchcore.onnx").read_bytes())
    data[int(place * len(data))] ^= 1
    (tmp_path / "part.onnx").write_bytes(data)
    assert refused(part_score(tmp_path / "part.onnx", "a.png"), "part.onnx", "damaged", "again")


def test_what_is_no_sealed_file_is_refused(part_score, tmp_path):
    whole = (FIXTURES / "mvg.onnx").read_bytes()
    (tmp_path / "text.onnx").write_text("not a model\n")
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name in ("text.onnx", "cut.onnx", "empty.onnx"):
        assert refused(part_score(tmp_path / name, "a.png"), name)
    assert refused(part_score(tmp_path / "none.onnx", "a.png"), "No such file")
    assert refused(part_score(tmp_path, "a.png"), "no regular file")


def doctored(path, change):
    """A sealed copy of a fixture whose description was changed."""
    model = onnx.load(FIXTURES / "mvg.onnx")
    (entry,) = (item for item in model.metadata_props if item.key == METADATA_KEY)
    document = json.loads(entry.value)
    document["seal"] = UNSEALED
    change(document)
    entry.value = json.dumps(document)
    onnx.save(model, path)
    seal(path)
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told["probes"][0].update(score=1e3), ["self-test", "good 0", "1000"]),
        (lambda told: told["probes"][1].update(map_peak=1e3), ["self-test", "good 1"]),
        (lambda told: told.update(measured_inputs={"depth": {}}), ["measured", "Python"]),
        (lambda told: told.update(format_version=2), ["format"]),
        (lambda told: told.pop("calibration"), ["cannot be used", "calibration"]),
    ],
)
def test_a_file_that_it_cannot_reproduce_or_read_is_refused(part_score, tmp_path, change, words):
    path = doctored(tmp_path / "part.onnx", change)
    assert refused(part_score(path, "a.png"), "part.onnx", *words)


def test_unusable_frames_are_listed_and_the_others_judged(part_score, tmp_path, rng):
    good = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    jpeg = encoded(".jpg", good)
    clear = np.dstack([good, np.full((96, 96), 9, np.uint8)])
    wrong = {
        "wide.png": (encoded(".png", good[:40]), "width / height 2.40"),
        "text.png": (b"not a picture", "expected a JPEG, PNG or BMP"),
        "empty.png": (b"", "expected a JPEG, PNG or BMP"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "cut.png": (encoded(".png", good)[:300], "not a readable image"),
        "clear.png": (encoded(".png", clear), "transparent"),
        "deep.png": (encoded(".png", good.astype(np.uint16) * 257), "8 bits"),
    }
    for name, (data, _) in wrong.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "good.png").write_bytes(encoded(".png", good))
    names = [*wrong, "none.png", "", "good.png"]
    done = part_score(FIXTURES / "patchcore.onnx", *(tmp_path / name for name in names))
    assert done.returncode == SOME_UNUSABLE
    *bad, last = lines(done)
    assert "error" not in last
    assert "score" in last
    reasons = [*(words for _, words in wrong.values()), "No such file", "no regular file"]
    assert [words in line["error"] for line, words in zip(bad, reasons, strict=True)] == [True] * 9
    assert all(line["model_sha256"] == last["model_sha256"] for line in bad)


def test_a_grey_frame_is_refused_where_colour_was_fitted(part_score, tmp_path, rng, mvg_files):
    model = EdgeModel(mvg_files[1])
    assert model.spec.coloured
    grey = rng.integers(0, 256, (96, 96), dtype=np.uint8)
    paths = written(tmp_path, [grey, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), grey * 0 + 7])
    found = lines(part_score(model.path, *paths))
    assert ["is grey" in line.get("error", "") for line in found] == [True, True, False]


@pytest.mark.parametrize(
    "call", [[], ["part.onnx"], ["--fast", "a", "b"], ["--threads", "0", "a", "b"], ["--threads"]]
)
def test_a_wrong_call_is_explained_in_one_line(part_score, call):
    assert refused(part_score(*call), "part_score")


def test_it_judges_by_the_engine_that_the_package_calls_openvino(part_score, tmp_path, scratched):
    (path,) = written(tmp_path, scratched[:1])
    model = EdgeModel(FIXTURES / "patchcore.onnx")
    engine = open_engine(model.path, "openvino", threads=1)
    prepared = prepare(scratched[0], model.spec)[None]
    (line,) = lines(part_score(model.path, path))
    assert line["score"] == pytest.approx(float(engine.run(prepared).score[0]), rel=1e-6)
