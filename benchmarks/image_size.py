"""Does `fit --image-size auto` choose as labels would? Good images choose, test images judge.

As the choice does, sizes are tried up to the first that is not taken. Every size is fitted on four
fifths of at most 100 good images; simulated defects upon others give what the choice goes by
(`found`), the set's test images what it is worth: image AUROC, and the share of real defects above
the same thresholds.

    python benchmarks/image_size.py [--sets magnetic_tile] [--detector patchcore]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from real_sets import SETS, SHARED

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.edge import InputSpec, prepare, read_frame
from anomalib_lite.edge.sources import open_good_images
from anomalib_lite.metrics.image import auroc
from anomalib_lite.statistics.spread import spread
from anomalib_lite.system.threads import use_threads
from anomalib_lite.tuning.exported import Judge
from anomalib_lite.tuning.good_frames import look_at_sizes, of_reference, read_good_frames
from anomalib_lite.tuning.held_out import MOST_HELD_OUT
from anomalib_lite.tuning.image_size import gains
from anomalib_lite.tuning.judging import Judgement
from anomalib_lite.tuning.latency import frame_ms
from anomalib_lite.tuning.sizes import candidates, shown

IMAGES = 100


def labelled(folder: Path, model: EdgeModel, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of at most so many test images, evenly spread, and which show a defect."""
    kinds = sorted(item for item in (folder / "test").iterdir() if item.is_dir())
    test = [(path, kind.name != "good") for kind in kinds for path in sorted(kind.iterdir())]
    chosen = [test[place] for place in spread(len(test), most)]
    spec = InputSpec(*model.spec.size_hw)
    prepared = (prepare(read_frame(path), spec) for path, _ in chosen)
    scores = [float(model.run(frame[None]).score[0]) for frame in prepared]
    return np.array(scores), np.array([bad for _, bad in chosen])


def row(judged: Judgement, scores: np.ndarray, bad: np.ndarray) -> list[str]:
    """What the choice goes by, and what labels say, as cells of a table."""
    real = Judgement(judged.good, scores[bad].astype(np.float64)[:, None])
    labels = [f"{auroc(scores, bad.astype(int)):.3f}", f"{real.found:.3f}"]
    return [f"{judged.found:.3f}", f"{judged.auroc:.3f}", *labels]


def measure(name: str, options: argparse.Namespace, scratch: Path) -> None:
    """Print the rows of a set, and which size is chosen."""
    source = open_good_images(str(SHARED / "data" / name / "train" / "good"))
    frame_hw, same_aspect = look_at_sizes(source)
    sizes = candidates(frame_hw, same_aspect=same_aspect)[: options.sizes]
    good = read_good_frames(source, InputSpec(*sizes[-1]), most=IMAGES + MOST_HELD_OUT)
    models, rows, taken, climbing, best = {}, {}, None, True, None
    for size in sizes:
        detector = Detector(
            options.detector, image_size=of_reference(InputSpec(*size)), calibration="holdout",
            backbone=options.backbone, seed=options.seed,
        )  # fmt: skip
        found = Judge(good, options.seed)(detector, IMAGES, scratch / f"{size}.onnx")
        models[size], judged = found.model, found.judgement
        rows[size] = row(judged, *labelled(SHARED / "data" / name, models[size], options.test))
        climbing = climbing and (taken is None or gains(taken, judged))
        if not climbing and not options.all:
            break
        if climbing:
            taken, best = judged, size
    times = frame_ms(models)
    for size, cells in rows.items():
        mark = " (chosen)" if size == best else ""
        print(f"| {name} | {shown(size)}{mark} | {' | '.join(cells)} | {times[size]:.1f} |")
    print(end="", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--detector", default="patchcore")
    parser.add_argument("--backbone")
    parser.add_argument("--sizes", type=int, default=4, help="so many, from the smallest")
    parser.add_argument("--all", action="store_true", help="also what the choice does not try")
    parser.add_argument("--test", type=int, default=1000, help="test images at most")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    use_threads(options.threads)
    print("| set | size | simulated found | simulated AUROC | image AUROC | real found | ms |")
    print("| --- " * 7 + "|", flush=True)
    for name in options.sets:
        with tempfile.TemporaryDirectory() as folder:
            measure(name, options, Path(folder))


if __name__ == "__main__":
    main()
