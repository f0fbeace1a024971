"""A mistake in a command line: status 2, one line that says what to do, nothing written."""

import pytest

FIT = "fit {good} --out {tmp}/x.safetensors"
SCORE = "score {edge} {good} --out {tmp}/o"
BENCH = "bench {edge}"
POOL = "score-pool {good} --out {tmp}/o"
EVALUATE = "evaluate --data folder:{good} --out {tmp}/o"
DISTILL = "distill --out {tmp}/w.safetensors"
AUDIT = "audit {good} --out {tmp}/o"
NO_SIZE = ("0x0", "0", "0x64", "64x0", "-64", "64x-1", "1e3", "64x64x3", "x", "64x", "nan")
BAD_SIZES = (*NO_SIZE, "inf", "6.4", "99999999", "²", "wide", "64,64")

MISTAKES = [
    *((f"{FIT} --image-size {size}", "write 256 or HxW") for size in BAD_SIZES),
    *((f"{BENCH} --frame-size {size}", "write 256 or HxW") for size in BAD_SIZES),
    *((f"{POOL} --image-size {size}", "write 256 or HxW") for size in NO_SIZE),
    *((f"{EVALUATE} --image-size {size}", "write 256 or HxW") for size in NO_SIZE),
    (f"{BENCH} --frame-size 100000x100000", "choose sides of 1 to 65500"),
    (f"{BENCH} --frame-size 65000x65000", "at most 150 megapixels"),
    (f"{FIT} --image-size 8", "choose 16 to 4096"),
    (f"{FIT} --image-size 5000", "choose 16 to 4096"),
    *(
        (f"{command} --threads {threads}", "--threads: input should be")
        for command in (FIT, SCORE, BENCH, POOL, EVALUATE, DISTILL, AUDIT, "check {edge}")
        for threads in ("0", "-1", "1.5", "many", "5000")
    ),
    ("export {detector} {tmp}/x.onnx --threads 0", "--threads: input should be"),
    ("update {detector} --add {good} --threads 0", "--threads: input should be"),
    *(
        (f"{command} --seed {seed}", "--seed")
        for command in (FIT, POOL, DISTILL, AUDIT)
        for seed in ("-1", "x", "1.5", "99999999999999999999")
    ),
    *(
        (f"{FIT} --max-false-reject {rate}", "max_false_reject is")
        for rate in ("0", "1", "-0.1", "nan", "inf", "7")
    ),
    (f"{FIT} --max-false-reject much", "--max-false-reject"),
    *((f"{SCORE} --max-false-reject {rate}", "between 0 and 1") for rate in ("0", "nan", "-1")),
    *((f"{EVALUATE} --max-false-reject {rate}", "between 0 and 1") for rate in ("0", "nan")),
    (f"{FIT} --set self=1", "patchcore has no setting 'self'"),
    (f"{FIT} --set name=1", "patchcore has no setting 'name'"),
    (f"{FIT} --set args=1", "patchcore has no setting 'args'"),
    (f"{FIT} --set row=100", "did you mean rows?"),
    (f"{FIT} --set rows=NaN", "rows is nan"),
    (f"{FIT} --set sigma=Infinity", "sigma is inf; choose 0 to 1000"),
    (f"{FIT} --set rows=many", "rows is"),
    (f"{FIT} --set rows=1.5", "rows is 1.5"),
    (f"{FIT} --set rows=true", "rows is True"),
    (f"{FIT} --set reweight=1", "reweight is 1; give true or false"),
    (f"{FIT} --set patch_layers=a", "give a list such as"),
    (f"{FIT} --set patch_layers=[1]", "give a list such as"),
    (f"{FIT} --set rows", "write name=value"),
    (f"{FIT} --set =1", "write name=value"),
    (f"{FIT} --set rows=", "write name=value"),
    (f"{FIT} --set ''", "--set is empty"),
    (f"{FIT} --image-size ''", "--image-size is empty"),
    (f"{BENCH} --frame-size ''", "--frame-size is empty"),
    ("score {edge} '' --out {tmp}/o", "SOURCE is empty"),
    ("audit '' --out {tmp}/o", "FOLDER is empty"),
    ("update {detector} --add ''", "--add is empty"),
    (f"{EVALUATE} --detector ''", "--detector is empty"),
    (f"{DISTILL} ''", "PICTURES is empty"),
    (f"{FIT} --set rows=1 --set rows=2", "rows is given twice"),
    (f"{FIT} --set seed=1", "write --seed instead"),
    (f"{FIT} --set out=x", "write --out instead"),
    (f"{FIT} --set image_size=64", "write --image-size instead"),
    (f"{FIT} --detector padmi", "did you mean padim?"),
    (f"{FIT} --detector PADIM", "did you mean padim?"),
    (f"{FIT} --detector ''", "--detector is empty"),
    (f"{FIT} --detector padim+", "join two or more different names"),
    (f"{FIT} --detector padim+padim", "join two or more different names"),
    (f"{FIT} --detector padim+nothing", "unknown detector 'nothing'"),
    (f"{FIT} --detector padim --steps 5", "--steps is not an option of padim"),
    (f"{FIT} --detector padim --minutes 5", "--minutes is not an option of padim"),
    (f"{FIT} --detector padim --size S", "--size is not an option of padim"),
    (f"{FIT} --detector padim --width 0.5", "--width is not an option of padim"),
    (f"{FIT} --detector draem --width 0.3", "width is 0.3; choose 1.0, 0.5, 0.25 or 0.125"),
    (f"{FIT} --detector padim --resume", "padim is not trained by steps"),
    (f"{FIT} --detector efficientad --steps 0", "--steps"),
    (f"{FIT} --detector efficientad --minutes 0", "choose a time above 0"),
    (f"{FIT} --detector efficientad --minutes nan", "choose a time above 0"),
    (f"{FIT} --detector efficientad --minutes -1", "choose a time above 0"),
    (f"{FIT} --detector efficientad --minutes inf", "choose a time above 0"),
    (f"{FIT} --detector efficientad --size L", "choose one of edge, S, M"),
    (f"{FIT} --layers ''", "--layers is empty"),
    (f"{FIT} --layers stride4,,stride8", "a name is empty"),
    (f"{FIT} --backbone ''", "--backbone is empty"),
    (f"{FIT} --colour blue", "choose one of rgb, grey"),
    (f"{FIT} --colour gray", "did you mean grey?"),
    (f"{FIT} --alpha drop", "choose one of opaque, ignore"),
    (f"{FIT} --exif no", "choose one of apply, ignore"),
    (f"{FIT} --bit-depth 7", "choose 8 to 16"),
    (f"{FIT} --bit-depth x", "--bit-depth"),
    (f"{FIT} --calibration fold", "did you mean folds?"),
    (f"{FIT} --contamination trus", "did you mean trust?"),
    (f"{FIT} --audit-by musc", "add --contamination audit"),
    (f"{FIT} --contamination audit --resume", "leave --contamination out"),
    (f"{FIT} --roi {{tmp}}/none.png", "No such file"),
    (f"{FIT} --weights {{tmp}}/none.safetensors", "no such weights file"),
    (f"{FIT} --products --product a={{good}}", "not both"),
    (f"{FIT} --max-megapixels 0", "--max-megapixels"),
    (f"{FIT} --max-megapixels nan", "--max-megapixels"),
    (f"{FIT} --detektor padim", "no such option"),
    (f"{FIT} extra", "extra"),
    ("fit {good}", "missing option '--out'"),
    ("fit --out {tmp}/x.safetensors", "name the good images"),
    ("fit {tmp}/none --out {tmp}/x.safetensors", "check the path"),
    ("fit '' --out {tmp}/x.safetensors", "SOURCE is empty"),
    ("fit {good} --out {tmp}/x.onnx", "must end in .safetensors"),
    ("fit {good} --out ''", "must end in .safetensors"),
    ("fit {good} --out {notes}/x.safetensors", "cannot write"),
    ("export {tmp}/none.safetensors {tmp}/x.onnx", "no such file"),
    ("export {edge} {tmp}/x.onnx", "is an edge file already"),
    ("export {detector} {tmp}/x.bin", "must end in .onnx"),
    ("export {detector} {detector}", "must end in .onnx"),
    ("export {detector}", "missing argument"),
    ("check {tmp}/none.onnx", "no such file"),
    ("check {detector}", "is a detector"),
    ("check {edge} --engine openvin", "did you mean openvino?"),
    ("info {tmp}/none.onnx", "no such file"),
    ("info {notes}", "not a readable"),
    ("info {tmp}", "this is a folder"),
    ("score {notes} {good} --out {tmp}/o", "expected a .onnx"),
    ("score {edge} {tmp}/none --out {tmp}/o", "check the path"),
    ("score {edge} {good} --out {notes}", "is a file; name a folder"),
    (f"{SCORE} --batch 0", "--batch"),
    (f"{SCORE} --batch 1000", "--batch"),
    (f"{SCORE} --good {{good}}", "--good is for --explain"),
    (f"{SCORE} --explain", "an edge file holds no good images"),
    ("score {detector} {good} --out {tmp}/o --engine openvino", "is computed by torch"),
    ("score {detector} {good} --out {tmp}/o --explain --good {tmp}/none", "no such folder"),
    (f"{BENCH} --frames 4", "--frames"),
    (f"{BENCH} --frames -1", "--frames"),
    ("bench {detector} --engine cuda", "is computed by torch"),
    ("update {detector}", "nothing to update"),
    ("update {detector} --add {good} --forget {good}", "give it once"),
    ("update {edge} --add {good}", "an edge file cannot learn"),
    ("update {detector} --add {good} --out {tmp}/x.bin", "must end in .safetensors"),
    (f"{POOL} --detector padim", "cannot judge a pool"),
    (f"{POOL} --detector mus", "did you mean musc?"),
    (f"{POOL} --set judge=3", "did you mean judges?"),
    (f"{POOL} --set judges=few", "judges is"),
    (f"{AUDIT} --set self=1", "musc has no setting 'self'"),
    ("audit {tmp}/none --out {tmp}/o", "check the path"),
    (f"{EVALUATE} --seeds 0", "--seeds"),
    (f"{EVALUATE} --limit-train 0", "--limit-train"),
    (f"{EVALUATE} --map-resolution half", "choose one of frame, network"),
    (f"{EVALUATE} --detector svm", "unknown detector 'svm'"),
    (f"{EVALUATE} --detector padim --detector padim", "given twice"),
    ("evaluate --data nothing --out {tmp}/o", "nothing"),
    (f"{DISTILL} --size huge", "choose one of edge, small, medium"),
    (f"{DISTILL} --steps 0", "--steps"),
    (f"{DISTILL} --batch-size 0", "--batch-size"),
    (f"{DISTILL} --minutes nan", "choose a time above 0"),
    (f"{DISTILL} --learning-rate 0", "choose between 0 and 1"),
    (f"{DISTILL} --learning-rate nan", "choose between 0 and 1"),
    (f"{DISTILL} --crop 100", "choose a multiple of 16"),
    (f"{DISTILL} --procedural -1", "--procedural"),
    (f"{DISTILL} --start {{tmp}}/none", "give a weights file"),
    ("distill --out {tmp}/w.bin", "must end in .safetensors"),
    ("datasets nothing:{good}", "nothing"),
    ("report {tmp}/none", "none"),
    ("fitt {good}", "no such command"),
    ("--bogus", "no such option"),
]


def words(line, places):
    return [word.strip("'").format(**places) for word in line.split()]


@pytest.fixture
def places(good_folder, padim_files, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("hello")
    return {
        "tmp": tmp_path,
        "good": good_folder,
        "detector": padim_files[0],
        "edge": padim_files[1],
        "notes": notes,
    }


def test_the_table_is_as_long_as_promised():
    assert len({line for line, _ in MISTAKES}) >= 150


@pytest.mark.parametrize(("line", "message"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_one_line_and_status_two(run, line, message, places):
    status, out, err = run(*words(line, places))
    assert status == 2
    assert "Traceback" not in out + err
    errors = [text for text in err.splitlines() if text.startswith("error: ")]
    assert errors == err.splitlines()[-1:]
    assert message in errors[0]
    assert {path.name for path in places["tmp"].iterdir()} <= {"notes.txt", "o"}
