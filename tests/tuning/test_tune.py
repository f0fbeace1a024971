"""The search of `tune`: the grid, halving, what is kept, what ends it."""

import json
import math

import numpy as np
import pytest

from anomalib_lite.edge import AnomalibLiteError, FitError, SettingsError
from anomalib_lite.report.tuning import markdown, render_tuning, table_rows
from anomalib_lite.tuning import search as search_module
from anomalib_lite.tuning.grid import Configuration, Grid, require_quick
from anomalib_lite.tuning.halving import (
    Standing,
    front,
    rank_correlation,
    ranking,
    rungs,
    survivors,
)
from anomalib_lite.tuning.judging import Judgement
from anomalib_lite.tuning.search import search
from anomalib_lite.tuning.trial_store import TrialStore
from anomalib_lite.tuning.trials import TrialRecord


def test_a_grid_is_the_product_of_its_axes_and_rows_are_for_banks_only():
    grid = Grid(
        [(96, 96), (64, 64)], ["padim", "patchcore+mvg"], ["filters"], rows=[10, 20], engines=[]
    )
    words = [item.words for item in grid.configurations()]
    assert words == [
        "padim on filters, 64x64",
        "patchcore+mvg rows=10 on filters, 64x64",
        "patchcore+mvg rows=20 on filters, 64x64",
        "padim on filters, 96x96",
        "patchcore+mvg rows=10 on filters, 96x96",
        "patchcore+mvg rows=20 on filters, 96x96",
    ]
    first, second, *_ = grid.configurations()
    assert second.settings == {"patchcore.rows": 10}
    assert first.settings == {}
    assert Configuration.from_dict(json.loads(json.dumps(second.to_dict()))) == second


def test_a_configuration_is_a_file_name_of_its_own():
    grid = Grid([(64, 64), (64, 96)], ["knn", "patchcore+mvg"], ["filters", "pdn_edge"])
    keys = [item.key for item in grid.configurations()]
    assert len(set(keys)) == len(keys)
    assert "patchcore+mvg_rows=1000-filters-64x64" in keys


@pytest.mark.parametrize(
    ("detectors", "message"),
    [
        (["efficientad"], "efficientad trains by steps"),
        (["padim", "padim+stfpm"], r"padim\+stfpm trains by steps"),
        (["gda"], "gda is for several products"),
        (["padmi"], r"unknown detector 'padmi' \(did you mean padim\?\)"),
    ],
)
def test_what_cannot_be_fitted_in_passing_is_refused(detectors, message):
    with pytest.raises(SettingsError, match=message):
        require_quick(detectors)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (5, [5]),
        (40, [40]),
        (41, [40, 41]),
        (100, [40, 100]),
        (150, [40, 100, 150]),
        (900, [40, 100, 200]),
    ],
)
def test_rungs_end_with_all_images_or_200(images, expected):
    assert rungs(images) == expected


STOOD = {
    "slow best": Standing(0.9, 9),
    "quick poor": Standing(0.2, 1),
    "beaten": Standing(0.3, 8),
    "middle": Standing(0.6, 4),
    "middle too, slower": Standing(0.6, 5),
    "beaten more": Standing(0.1, 10),
}


def test_the_front_is_what_nothing_beats_in_both():
    assert front(STOOD) == ["quick poor", "middle", "slow best"]


def test_the_better_half_and_the_front_go_on_best_first():
    assert survivors(STOOD) == ["slow best", "middle", "middle too, slower", "quick poor"]
    assert ranking(STOOD)[-1] == "beaten more"


def test_rank_correlation_is_spearmans():
    assert rank_correlation([1, 2, 3], [10, 20, 90]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert math.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))


class MadeBench:
    """Trials whose outcome is written down: what is found, by rows; `rows=7` fails."""

    def __init__(self, images=120, fail_at=(7,)):
        self.good = range(images)
        self.fail_at = fail_at
        self.ran = []
        self.stop_after = math.inf

    def run(self, configuration, images, path):
        if len(self.ran) >= self.stop_after:
            raise KeyboardInterrupt
        self.ran.append((configuration.rows, images))
        if configuration.rows in self.fail_at:
            return TrialRecord(configuration, images, failed="too little memory")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"file")
        found = np.arange(10) < configuration.rows / 10
        judgement = Judgement(np.zeros(10), found.astype(float).reshape(-1, 2))
        return TrialRecord(configuration, images, judgement, None, 1000)


@pytest.fixture(autouse=True)
def made_times(monkeypatch):
    """A file takes a tenth of its rows in one engine, a millisecond more in the other."""
    asked = []

    def made(files, *, threads=None, progress=None):
        asked.append(list(files))
        return {
            (key, engine): float(key.split("rows=")[1].split("-")[0]) / 10 + (engine == "other")
            for key, engine in files
        }

    monkeypatch.setattr(search_module, "time_files", made)
    return asked


GRID = [Configuration("patchcore", "filters", (64, 64), rows) for rows in (7, 10, 30, 50, 70, 90)]
ENGINES = ("onnxruntime", "other")


def tuned(folder, bench, resume=False, settings=None, **options):
    store = TrialStore(folder, settings or {"seed": 0}, resume=resume)
    return search(bench, GRID, ENGINES, store, **{"budget_ms": 8.0, **options})


def test_the_best_within_the_budget_is_chosen_and_slower_ones_end_on_the_first_rung(tmp_path):
    bench = MadeBench()
    tuning = tuned(tmp_path, bench)
    assert tuning.best.configuration.rows == 70
    assert tuning.best.quickest_ms == 7.0
    assert tuning.best.engine == "onnxruntime"
    assert tuning.rungs == (40, 100, 120)
    assert (90, 40) in bench.ran
    assert (90, 100) not in bench.ran
    assert (70, 120) in bench.ran
    assert [entry.configuration.rows for entry in tuning.front] == [10, 30, 50, 70, 90]
    assert {entry.configuration.rows: entry.failed for entry in tuning.entries}[7] == (
        "too little memory"
    )


def test_a_search_that_is_interrupted_anywhere_ends_as_one_that_is_not(tmp_path, made_times):
    whole = tuned(tmp_path / "whole", MadeBench()).to_dict()
    trials = len(made_times)
    assert trials == 1
    for stop in range(0, 14, 2):
        bench, folder = MadeBench(), tmp_path / str(stop)
        bench.stop_after = stop
        with pytest.raises(KeyboardInterrupt):
            tuned(folder, bench)
        bench.stop_after = math.inf
        assert tuned(folder, bench, resume=True).to_dict() == whole
        assert len(bench.ran) == len(set(bench.ran))


def test_files_are_removed_when_they_are_timed(tmp_path):
    tuned(tmp_path, MadeBench())
    assert list(tmp_path.rglob("*.onnx")) == []


def test_when_the_time_is_up_what_was_found_counts_and_the_rest_is_said(tmp_path):
    clock = iter(range(1000))
    bench = MadeBench()
    tuning = tuned(tmp_path, bench, until=3, clock=lambda: next(clock))
    assert tuning.out_of_time
    assert tuning.best.configuration.rows == 50
    assert tuning.entries[-1].failed == "not tried: the time was up"
    assert "The time was up." in render_tuning(tuning, "good")
    after = tuned(tmp_path, bench, resume=True)
    assert after.to_dict() == tuned(tmp_path / "whole", MadeBench()).to_dict()


def test_nothing_fits_and_the_quickest_is_known(tmp_path):
    tuning = tuned(tmp_path, MadeBench(), budget_ms=0.5)
    assert tuning.best is None
    assert tuning.quickest.configuration.rows == 10
    assert "No file takes 0.5 ms or less." in render_tuning(tuning, "good")


def test_another_budget_goes_on_with_the_trials_that_are_there(tmp_path):
    """Also those of earlier versions, which wrote the budget down."""
    tuned(tmp_path, MadeBench(), budget_ms=0.5, settings={"seed": 0, "budget_ms": 0.5})
    after = tuned(tmp_path, MadeBench(), budget_ms=8.0, resume=True)
    assert after.to_dict() == tuned(tmp_path / "whole", MadeBench(), budget_ms=8.0).to_dict()


def test_a_search_where_all_fails_says_the_first_reason(tmp_path):
    with pytest.raises(FitError, match="no trial came to an end; the first: too little memory"):
        tuned(tmp_path, MadeBench(fail_at=(7, 10, 30, 50, 70, 90)))


def test_another_search_in_the_same_folder_is_refused(tmp_path):
    tuned(tmp_path, MadeBench())
    with pytest.raises(SettingsError, match="holds trials; go on with --resume"):
        tuned(tmp_path, MadeBench())
    with pytest.raises(SettingsError, match=r"other settings \(seed: 0 there, 1 now\)"):
        tuned(tmp_path, MadeBench(), resume=True, settings={"seed": 1})


@pytest.mark.parametrize("name", ["milliseconds.json", f"0/{GRID[2].key}.json"])
def test_a_damaged_record_is_named(tmp_path, name):
    tuned(tmp_path, MadeBench())
    (tmp_path / "trials" / name).write_text("{")
    with pytest.raises(AnomalibLiteError, match="not a record of a trial; delete it"):
        tuned(tmp_path, MadeBench(), resume=True)


def test_the_page_and_the_table_hold_every_trial(tmp_path):
    tuning = tuned(tmp_path, MadeBench())
    page, text = render_tuning(tuning, "good/<parts>"), markdown(tuning)
    for entry in tuning.entries:
        assert entry.configuration.words in page
        assert entry.configuration.words in text
    assert "good/&lt;parts&gt;" in page
    assert page.count("<circle") == 5
    assert [row[-1][0] for row in table_rows(tuning)] == [
        "chosen, front 4", "front 3", "front 2", "front 1", "front 5, too slow",
    ]  # fmt: skip
    json.dumps(tuning.to_dict(), allow_nan=False)
