"""What a scorer says that it can do, it does; alone, and as part of any pair."""

from itertools import combinations

import numpy as np
import pytest
from scorer_references import MadeStream, layout_of

from anomalib_lite.edge import SettingsError
from anomalib_lite.scorers import (
    CrossFit,
    Explain,
    FitContext,
    Forget,
    MergesBackbone,
    PartialFit,
    ReferenceQuantile,
    ScorePool,
    TakesSampleWeight,
    as_able,
    create_scorer,
    list_scorers,
    scorers_with,
)

CONTEXT = FitContext(seed=0)
ABLE = {
    CrossFit: {"gda", "knn", "musc", "mvg", "padim", "patchcore"},
    PartialFit: {"knn", "mvg", "padim", "patchcore"},
    Forget: {"mvg", "padim"},
    TakesSampleWeight: {"mvg", "padim", "patchcore"},
    Explain: {"patchcore"},
    ScorePool: {"musc"},
    MergesBackbone: {"efficientad"},
    ReferenceQuantile: {"mvg"},
}
BY_ALL = (CrossFit, PartialFit, Forget, TakesSampleWeight)
SHIPPED = sorted(set().union(*ABLE.values()) | {"stfpm", "draem", "reconstruction"})
PAIRS = ["+".join(pair) for pair in combinations(SHIPPED, 2)]
QUICK = ["+".join(pair) for pair in combinations(["gda", "knn", "mvg", "padim", "patchcore"], 2)]


def stream_of(images, seed=0):
    return MadeStream(layout_of((32, 32), [("a", 4, 8), ("b", 5, 16)]), images, seed=seed)


def fitted(name):
    own = {"padim.num_features": 5, "patchcore.coreset_ratio": 1.0}
    chosen = {key: value for key, value in own.items() if key.split(".")[0] in name}
    scorer = create_scorer(name, **chosen, trust="equal")
    scorer.build(stream_of(1).layout)
    scorer.fit(stream_of(12), CONTEXT)
    return scorer


def use(scorer, ability):
    """Call what an ability promises, on a fitted scorer."""
    if ability is CrossFit:
        assert len(scorer.cross_fit(stream_of(12), np.arange(12) % 3, CONTEXT).image) == 12
    elif ability is PartialFit:
        scorer.partial_fit(stream_of(4, seed=3), CONTEXT)
    elif ability is Forget:
        scorer.forget(stream_of(12).subset([0, 1]), CONTEXT)
    elif ability is TakesSampleWeight:
        assert scorer.effective_images(np.ones(6)) == 6
    else:
        features = stream_of(1).all_features()
        height, width = scorer(features).map.shape[1:]
        assert {"image", "distance"} <= scorer.explain(features, (height // 2, width // 2)).keys()


@pytest.mark.parametrize("ability", ABLE)
def test_the_scorers_with_an_ability_are_those(ability):
    assert set(scorers_with(ability)) & set(SHIPPED) == ABLE[ability]


def test_the_table_names_every_scorer():
    assert set(SHIPPED) <= set(list_scorers())


@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_can_what_both_can_and_explains_if_one_does(pair):
    scorer = create_scorer(pair)
    for ability, able in ABLE.items():
        having = [name in able for name in pair.split("+")]
        expected = all(having) if ability in BY_ALL else ability is Explain and any(having)
        assert scorer.can(ability) == expected, ability
        assert (as_able(scorer, ability) is scorer) == expected, ability


@pytest.mark.parametrize("pair", QUICK)
def test_a_pair_keeps_what_it_promises_and_refuses_the_rest_in_one_line(pair):
    for ability in (*BY_ALL, Explain):
        scorer = fitted(pair)
        if scorer.can(ability):
            use(scorer, ability)
        else:
            with pytest.raises(SettingsError, match=r"lacks|cannot explain"):
                use(scorer, ability)


@pytest.mark.parametrize("ability", ABLE)
def test_there_is_no_other_check_that_could_say_something_else(ability):
    with pytest.raises(TypeError, match="runtime_checkable"):
        isinstance(create_scorer("mvg+knn"), ability)


def test_a_fusion_of_fusions_asks_all_the_way_down():
    from anomalib_lite.scorers.fusion.create import create_fusion

    inner = create_scorer("mvg+padim")
    assert create_fusion([inner, create_scorer("patchcore")]).can(PartialFit)
    assert not create_fusion([inner, create_scorer("patchcore")]).can(Forget)
    assert not create_fusion([create_scorer("mvg+gda"), inner]).can(PartialFit)


def test_something_that_is_no_ability_is_had_by_nobody():
    assert not create_scorer("mvg").can(object)
