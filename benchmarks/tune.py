"""Does the choice of `tune`, made on good images, come near the best that labels would choose?

The search runs as the command runs it. Then *every* configuration of the grid is fitted on four
fifths of the good images of the last rung, and scored on the set's test images: the best of the
grid within the budget, what the choice lacks to it, and the rank correlation between what is found
of simulated defects and the image AUROC of real ones.

    python benchmarks/tune.py --sets magnetic_tile mvtec_ad/bottle mvtec_ad/screw --budget-ms 12
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from real_sets import SETS, SHARED

from anomalib_lite.data.sample import Sample, defect_sample, good_sample
from anomalib_lite.edge import InputSpec
from anomalib_lite.edge.sources import open_good_images
from anomalib_lite.system.threads import use_threads
from anomalib_lite.tuning.good_frames import look_at_sizes, read_good_frames
from anomalib_lite.tuning.grid import DETECTORS, Configuration, Grid
from anomalib_lite.tuning.halving import RUNG_IMAGES, rank_correlation
from anomalib_lite.tuning.held_out import MOST_HELD_OUT
from anomalib_lite.tuning.latency import time_files
from anomalib_lite.tuning.search import Entry, Tuning, search
from anomalib_lite.tuning.sizes import candidates
from anomalib_lite.tuning.trial_store import TrialStore
from anomalib_lite.tuning.trials import Bench


def test_samples(folder: Path) -> list[Sample]:
    """Test images with their labels."""
    found = []
    for kind in sorted(item for item in (folder / "test").iterdir() if item.is_dir()):
        for path in sorted(kind.iterdir()):
            about = {"category": folder.name, "split": "test"}
            if kind.name == "good":
                found.append(good_sample(path, **about))
            else:
                found.append(defect_sample(path, defect=kind.name, **about))
    return found


def real_figures(bench: Bench, grid: list[Configuration], scratch: Path) -> dict:
    """Image AUROC on the test images of every configuration that can be fitted."""
    images, found = min(len(bench.good), RUNG_IMAGES[-1]), {}
    for item in grid:
        record = bench.run(item, images, scratch / "real.onnx")
        if record.labelled is not None:
            found[item] = record.labelled
    return found


def say(name: str, tuning: Tuning, real: dict, minutes: float) -> None:
    """Print the rows of a set: all configurations, then what the choice is worth."""
    first = [item.records[0].judgement.found for item in tuning.usable]
    truth = [real[item.configuration] for item in tuning.usable]
    for entry in sorted(tuning.usable, key=lambda item: -real[item.configuration]):
        judged = entry.last.judgement
        print(
            f"| {name} | {entry.configuration.words} | {entry.quickest_ms:.2f} ({entry.engine}) | "
            f"{judged.found:.3f} ({entry.last.images}) | {real[entry.configuration]:.3f} |"
        )
    fit = [entry for entry in tuning.within if len(entry.records) == len(tuning.within[0].records)]
    if not fit:
        return
    best = max(fit, key=lambda entry: entry.last.judgement.found)
    within = [entry for entry in tuning.usable if entry.quickest_ms <= tuning.budget_ms]
    most = max(real[entry.configuration] for entry in within)
    deep = [item for item in within if len(item.records) == len(best.records)]
    last = rank_correlation(
        [item.last.judgement.found for item in deep], [real[item.configuration] for item in deep]
    )
    print(
        f"{name}: chosen {best.configuration.words}, image AUROC {real[best.configuration]:.3f}, "
        f"best within {tuning.budget_ms:g} ms {most:.3f}; rank correlation {last:.2f} on the last "
        f"rung ({len(deep)}), {rank_correlation(first, truth):.2f} on the first "
        f"({len(first)}); {minutes:.1f} min",
        flush=True,
    )


def measure(name: str, options: argparse.Namespace) -> None:
    """Search, then measure every configuration on the test images."""
    folder = SHARED / "data" / name
    source = open_good_images(str(folder / "train" / "good"))
    frame_hw, same_aspect = look_at_sizes(source)
    sizes = candidates(frame_hw, same_aspect=same_aspect)[: options.sizes]
    grid = Grid(sizes, options.detectors, options.backbones, options.rows, engines=options.engines)
    good = read_good_frames(source, InputSpec(*sizes[-1]), most=RUNG_IMAGES[-1] + MOST_HELD_OUT)
    bench = Bench(good, lambda size: InputSpec(*size), sizes[-1], seed=options.seed)
    labelled = replace(bench, labelled=test_samples(folder))
    with tempfile.TemporaryDirectory() as scratch:
        started = time.monotonic()
        if options.one_rung:
            tuning = one_rung(labelled, grid, Path(scratch), options)
            real = {entry.configuration: entry.last.labelled for entry in tuning.usable}
        else:
            store = TrialStore(Path(scratch), {}, resume=False)
            tuning = search(bench, grid.configurations(), grid.engines, store,
                            budget_ms=options.budget_ms, threads=options.threads)  # fmt: skip
            real = real_figures(labelled, grid.configurations(), Path(scratch))
    say(name, tuning, real, (time.monotonic() - started) / 60)


def one_rung(bench: Bench, grid: Grid, scratch: Path, options: argparse.Namespace) -> Tuning:
    """Every configuration on one number of images: the halving left out, the judging alone."""
    records, files = {}, {}
    for item in grid.configurations():
        path = scratch / f"{item.key}.onnx"
        records[item] = bench.run(item, options.one_rung, path)
        files |= {(item, engine): (path, engine) for engine in grid.engines if path.is_file()}
    times = time_files(files, threads=options.threads)
    entries = [
        # Ranked by what is found; the labels stay beside it.
        Entry(item, (record,), {engine: ms for (own, engine), ms in times.items() if own == item})
        for item, record in records.items()
    ]
    return Tuning(tuple(entries), options.budget_ms, (options.one_rung,))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--budget-ms", type=float, default=15)
    parser.add_argument("--detectors", nargs="+", default=DETECTORS)
    parser.add_argument("--backbones", nargs="+", default=("pdn_edge",))
    parser.add_argument("--rows", nargs="+", type=int, default=(1000, 4000))
    parser.add_argument("--engines", nargs="+", default=("onnxruntime",))
    parser.add_argument("--sizes", type=int, default=2, help="so many, from the smallest")
    parser.add_argument("--one-rung", type=int, metavar="IMAGES", help="no halving: all on so many")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    use_threads(options.threads)
    print("| set | configuration | ms | found (images) | image AUROC |\n" + "| --- " * 5 + "|")
    for name in options.sets:
        measure(name, options)


if __name__ == "__main__":
    main()
