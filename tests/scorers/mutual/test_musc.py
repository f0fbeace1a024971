"""MuSc against the plain quadratic form, its files, and what its settings switch."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from interruptions import at_each_write
from musc_reference import pool_maps, rscin
from scorer_references import MadeStream, layout_of

from anomalib_lite.edge import FitError, SettingsError
from anomalib_lite.scorers import FitContext, ScorePool, create_scorer
from anomalib_lite.scorers.mutual.matmul import both_maxima, int8_is_exact, make_factors
from anomalib_lite.scorers.mutual.plan import BLOCK, plan_judges
from anomalib_lite.scorers.mutual.rscin import most_similar, smooth_scores

LAYERS = [("a", 12, 8), ("b", 12, 8), ("class", 7, 48)]
SIZE = (40, 48)
GRID = (5, 6)
ROI = np.zeros(SIZE, bool)
ROI[9:30, 5:37] = True


def stream_of(images, seed=0, roi=None, **options):
    layout = layout_of(SIZE, LAYERS, roi)
    return MadeStream(layout, images, seed=seed, **options)


def scored(stream, context=None, **settings):
    scorer = create_scorer("musc", **settings)
    scorer.build(stream.layout)
    return scorer.score_pool(stream, context or FitContext())


def arrays(stream):
    maps = stream.all_features().maps
    return [maps[name].numpy() for name in ("a", "b")], maps["class"][:, :, 0, 0].numpy()


@pytest.mark.parametrize("roi", [None, ROI], ids=["whole frame", "region"])
@pytest.mark.parametrize(
    ("images", "settings"),
    [
        (7, {}),
        (19, {}),
        (35, {"degrees": [3]}),
        (8, {"interval": 1.0}),
        (2, {"rscin": [1]}),
    ],
)
def test_a_pool_scores_as_the_plain_quadratic_form(images, settings, roi):
    stream = stream_of(images, roi=roi)
    found = scored(stream, **settings)
    layers, embeddings = arrays(stream)
    inside = stream.layout.cell_share(GRID).numpy() > 0
    interval, degrees = settings.get("interval", 0.3), settings.get("degrees", [1, 3, 5])
    maps = pool_maps(layers, degrees, interval, inside)
    np.testing.assert_allclose(found.maps, maps, atol=1e-5)
    raw = maps.max(axis=(1, 2))
    np.testing.assert_allclose(found.parts["raw"], raw, atol=1e-5)
    chosen = settings.get("rscin", [])
    image = rscin(raw, embeddings.astype(np.float64), chosen) if chosen else raw
    np.testing.assert_allclose(found.image, image, atol=1e-4)
    assert found.indices.tolist() == list(range(images))
    assert found.judges == images - 1


def test_without_rscin_the_image_score_is_the_largest_of_the_map():
    found = scored(stream_of(6), rscin=[])
    np.testing.assert_array_equal(found.image, found.maps.max(axis=(1, 2)))


def test_scores_in_units_of_distance_keep_the_order_and_the_range():
    found = scored(stream_of(6), rscin=[1, 2])
    assert found.image.min() < found.parts["raw"].min()
    assert np.array_equal(np.argsort(found.distances), np.argsort(found.image))
    assert found.parts["raw"].min() <= found.distances.min()
    assert found.distances.max() <= found.parts["raw"].max()
    plain = scored(stream_of(6), rscin=[])
    np.testing.assert_array_equal(plain.distances, plain.image.astype(np.float64))


def test_layers_of_several_grids_are_joined_on_the_finest():
    layout = layout_of((32, 32), [("fine", 6, 8), ("coarse", 6, 16)])
    both, fine, coarse = (
        scored(MadeStream(layout, 6), patch_layers=names) for names in (None, ["fine"], ["coarse"])
    )
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(coarse.maps)[:, None], (4, 4), mode="bilinear"
    )[:, 0]
    np.testing.assert_allclose(both.maps, (fine.maps + enlarged.numpy()) / 2, atol=1e-6)


def test_maps_are_enlarged_with_aligned_corners_and_zero_outside_the_region():
    stream = stream_of(5, roi=ROI)
    found = scored(stream)
    plain = torch.nn.functional.interpolate(
        torch.from_numpy(found.maps)[:, None], SIZE, mode="bilinear", align_corners=True
    )[2, 0].numpy()
    np.testing.assert_allclose(found.network_map(2), plain * ROI, atol=1e-6)


def test_an_unreadable_image_is_left_out_of_the_pool():
    found = scored(stream_of(6, missing=(2,)))
    assert found.indices.tolist() == [0, 1, 3, 4, 5]
    assert create_scorer("musc").can(ScorePool)


def test_a_pool_of_one_image_is_refused():
    with pytest.raises(FitError, match="at least 2"):
        scored(stream_of(3, missing=(0, 1)))


class StopError(Exception):
    """Stands for Ctrl-C."""


def stopping(after, stage):
    calls = []

    def progress(words, done, total):
        calls.append(words)
        if calls.count(stage) == after:
            raise StopError

    return progress


@pytest.mark.parametrize(("after", "stage"), [(2, "reading the pool"), (9, "comparing images")])
@pytest.mark.parametrize("settings", [{}, {"judges": 20}])
def test_an_interrupted_pool_continues_to_the_same_bytes(tmp_path, after, stage, settings):
    whole = scored(stream_of(70), degrees=[1, 3], **settings)
    folder = tmp_path / "pool"
    with pytest.raises(StopError):
        scored(
            stream_of(70),
            FitContext(progress=stopping(after, stage), checkpoint=folder),
            degrees=[1, 3],
            **settings,
        )
    stream, seen = stream_of(70), []
    context = FitContext(
        checkpoint=folder, resume=True, progress=lambda words, done, total: seen.append(done)
    )
    again = scored(stream, context, degrees=[1, 3], **settings)
    assert again.maps.tobytes() == whole.maps.tobytes()
    assert again.image.tobytes() == whole.image.tobytes()
    assert stream.passes == (0 if stage == "comparing images" else 1)
    assert not (folder / "maxima.f32").exists()  # the room is given back; the rest is small


@pytest.mark.parametrize(("rows", "every"), [(False, 1), (True, 29)], ids=["files", "rows"])
def test_a_pool_killed_at_any_write_continues_to_the_same_bytes(tmp_path, monkeypatch, rows, every):
    whole = scored(stream_of(20), degrees=[1, 3])

    def begin(number):
        context = FitContext(checkpoint=tmp_path / str(number))
        scored(stream_of(20), context, degrees=[1, 3])

    def go_on(number):
        context = FitContext(checkpoint=tmp_path / str(number), resume=True)
        again = scored(stream_of(20), context, degrees=[1, 3])
        assert again.maps.tobytes() == whole.maps.tobytes(), number
        assert again.image.tobytes() == whole.image.tobytes(), number
        assert again.embeddings.tobytes() == whole.embeddings.tobytes(), number

    kills = at_each_write(monkeypatch, begin, go_on, rows=rows, every=every)
    # Features once; for each of four passes (two layers, two degrees) two blocks and the totals.
    assert kills == (1 + 4 * (2 + 1)) if not rows else kills > 5


def test_totals_that_are_damaged_are_named(tmp_path):
    context = FitContext(progress=stopping(9, "comparing images"), checkpoint=tmp_path)
    with pytest.raises(StopError):
        scored(stream_of(40), context, degrees=[1, 3])
    (tmp_path / "totals.safetensors").write_bytes(b"torn")
    with pytest.raises(FitError, match=r"totals\.safetensors: is damaged"):
        scored(stream_of(40), FitContext(checkpoint=tmp_path, resume=True), degrees=[1, 3])


def test_a_pool_that_the_disk_cannot_take_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "anomalib_lite.system.spill.shutil.disk_usage", lambda folder: SimpleNamespace(free=10**4)
    )
    stream = stream_of(40)
    with pytest.raises(FitError, match=r"features of 40 images take .* fewer judges"):
        scored(stream, FitContext(checkpoint=tmp_path))
    assert stream.passes == 0


def test_a_pool_begun_with_other_settings_is_not_continued(tmp_path):
    context = FitContext(progress=stopping(3, "comparing images"), checkpoint=tmp_path / "p")
    with pytest.raises(StopError):
        scored(stream_of(40), context)
    with pytest.raises(SettingsError, match="other images or settings"):
        scored(stream_of(40), FitContext(checkpoint=tmp_path / "p", resume=True), interval=0.5)


@pytest.mark.parametrize(("images", "judges"), [(400, 60), (100, 40), (97, 30), (33, 5)])
def test_a_plan_with_fewer_judges_is_mutual_even_and_cheaper(images, judges):
    plan, everyone = plan_judges(images, judges, seed=3), plan_judges(images)
    assert sorted(plan.order.tolist()) == list(range(images))
    for block, others in enumerate(plan.judges):
        assert block in others
        assert all(block in plan.judges[other] for other in others)
    assert len({len(others) for others in plan.judges}) == 1
    assert judges - BLOCK < plan.fewest_judges
    assert plan.products < everyone.products
    assert everyone.fewest_judges == images - 1
    assert everyone.products == images * (images - 1) // 2


def test_a_plan_with_enough_judges_is_the_whole_pool():
    assert plan_judges(40, 39).products == plan_judges(40).products


def test_with_fewer_judges_each_image_is_scored_by_those_of_its_plan():
    stream = stream_of(100)
    found = scored(stream, judges=40, degrees=[1], patch_layers=["a"], rscin=[])
    plan = plan_judges(100, 40)
    layers, _ = arrays(stream)
    inside = np.ones(GRID, bool)
    for place in (0, 50, 99):
        image = int(plan.order[place])
        judges = [
            int(plan.order[other])
            for block in plan.judges[place // BLOCK]
            for other in plan.members(block)
            if other != place
        ]
        alone = pool_maps([layers[0][[image, *judges]]], [1], 0.3, inside)
        np.testing.assert_allclose(found.maps[image], alone[0], atol=1e-5)


def test_both_maxima_of_a_tile_are_those_of_all_products():
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.randn(n, 300, 20, generator=generator) for n in (5, 8))
    products = torch.einsum("apc,bqc->apbq", left.double(), right.double())
    mine, theirs = both_maxima(make_factors(left), make_factors(right))
    torch.testing.assert_close(mine.double(), products.amax(3).transpose(1, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        theirs.double(), products.amax(1).permute(1, 0, 2), atol=1e-5, rtol=0
    )


@pytest.mark.skipif(not int8_is_exact(), reason="this machine does not multiply int8 exactly")
@pytest.mark.parametrize(
    ("products", "of_products", "of_maps"), [("int8", 0.02, 0.02), ("int16", 1e-4, 1e-4)]
)
def test_rounded_products_are_near_the_exact_ones(products, of_products, of_maps):
    tokens = torch.nn.functional.normalize(
        torch.randn(5, 40, 64, generator=torch.Generator().manual_seed(0)), dim=2
    )
    factors = make_factors(tokens, products)
    assert factors.rows.dtype == torch.int8
    found, _ = both_maxima(factors, factors)
    exact, _ = both_maxima(make_factors(tokens), make_factors(tokens))
    others = ~torch.eye(5, dtype=torch.bool)
    torch.testing.assert_close(found[others], exact[others], atol=of_products, rtol=0)
    assert not torch.equal(found, exact)
    whole, quick = scored(stream_of(20)), scored(stream_of(20), products=products)
    np.testing.assert_allclose(quick.maps, whole.maps, atol=of_maps)


@pytest.mark.skipif(not int8_is_exact(), reason="this machine does not multiply int8 exactly")
def test_int16_products_are_those_of_the_rounded_tokens_without_the_smallest_part():
    tokens = torch.randn(1, 6, 10, generator=torch.Generator().manual_seed(2), dtype=torch.float32)
    factors = make_factors(tokens, "int16")
    rows = factors.rows[0].long()
    upper, lower = rows[:, :10], rows[:, 10:]
    assert int(upper.abs().max()) <= 127
    assert int(lower.abs().max()) <= 64
    expected = 128 * upper @ upper.T + upper @ lower.T + lower @ upper.T
    assert torch.equal(factors.multiply(factors.rows[0], factors.rows[0]).long(), expected)


def test_both_maxima_of_a_group_with_itself_take_one_half_of_the_tiles():
    tokens = torch.randn(7, 300, 20, generator=torch.Generator().manual_seed(1))
    factors = make_factors(tokens)
    mine, theirs = both_maxima(factors, factors)
    expected, _ = both_maxima(factors, make_factors(tokens.clone()))
    torch.testing.assert_close(mine, expected, atol=1e-5, rtol=0)
    assert theirs is mine


def test_rscin_pulls_a_lone_high_score_towards_its_likes():
    embeddings = np.array([[1, 0.0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    scores = np.array([0.0, 2.0, 1.0, 1.0])
    assert smooth_scores(scores, embeddings, [1]).tolist() == [0.0, 1.0, 0.5, 0.5]
    pulled = smooth_scores(scores, embeddings, [2])
    assert pulled[0] == pytest.approx(0.5, abs=0.01)
    assert pulled[2] == pytest.approx(0.5)
    assert most_similar(embeddings, 0, 2) == [1, 3]


@pytest.mark.parametrize(
    "settings",
    [
        {"degrees": []},
        {"degrees": [2]},
        {"interval": 0},
        {"rscin": [0]},
        {"judges": 0},
        {"products": "bfloat16"},
        {"references": 0},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(SettingsError):
        create_scorer("musc", **settings)


def test_a_layer_that_the_backbone_does_not_give_is_refused():
    with pytest.raises(SettingsError, match="choose among a, b"):
        create_scorer("musc", patch_layers=["class"]).build(stream_of(2).layout)


def test_memory_grows_with_the_pool_and_not_with_its_square():
    scorer = create_scorer("musc")
    scorer.build(layout_of((224, 224), [("x", 192, 16)]))
    small, large = scorer.pool_bytes(1000), scorer.pool_bytes(4000)
    assert 3000 * 196 * 192 * 4 < large[0] - small[0] < 1.5 * 3000 * 196 * 192 * 4
    assert large[1] > 4000 * 4000 * 196 * 4
