"""The smallest set that turns the answer over, against every set there is."""

from collections.abc import Sequence
from itertools import chain, combinations

import pytest
from torch import Tensor

from model.components import Component, Kind
from model.edits.interventions import Ablate, Change, Patch, Sources, Span
from model.gpt2 import GPT2, Config
from model.measured.flips import Flip, Round, smallest_flip
from model.measured.replay import measure
from model.measured.scorers import metric_scorer
from model.metrics import Metric, Quantity
from model.sites import Site
from model.trace import Trace, logits_at, metric_value, record
from tests.tiny import random_model

SHAPE = Config(n_layer=3, n_head=3, d_model=24, d_mlp=48, n_ctx=8, n_vocab=29)
A, B = (3, 7, 11, 5, 20), (3, 7, 12, 5, 21)
END = len(A) - 1
PARTS = tuple(
    Component(kind, layer, index)
    for layer in range(3)
    for kind, index in ((Kind.HEAD, 0), (Kind.HEAD, 1), (Kind.HEAD, 2), (Kind.MLP, None))
)


def patches(parts: Sequence[Component] = PARTS) -> list[Change]:
    """One patch of every token of each part."""
    whole = Span(0, END)
    return [Patch(part, whole, whole) for part in parts]


def runs(model: GPT2) -> tuple[Trace, Sources]:
    return record(model, A), Sources(other=record(model, B))


def flipping_metrics(model: GPT2, many: int) -> list[Metric]:
    """Logit differences whose sign differs between the two runs, the furthest from 0 in both first."""
    a, b = (logits_at(model, record(model, tokens), END).tolist() for tokens in (A, B))

    def far(pair: tuple[int, int]) -> float:
        one, other = (logits[pair[0]] - logits[pair[1]] for logits in (a, b))
        return min(abs(one), abs(other)) if one * other < 0 else 0.0

    pairs = sorted(combinations(range(SHAPE.n_vocab), 2), key=far, reverse=True)[:many]
    assert far(pairs[-1]) > 0
    return [Metric(Quantity.LOGIT_DIFF, (up,), (down,), END) for up, down in pairs]


def found_by(model: GPT2, metric: Metric, candidates: Sequence[Change], limit: int = 20) -> Flip:
    trace, sources = runs(model)
    search = smallest_flip(model, trace, metric, candidates, sources, limit=limit)
    try:
        while True:
            step = next(search)
            assert 0 < step.done <= step.of
    except StopIteration as stop:
        return stop.value


def value(model: GPT2, metric: Metric, changes: Sequence[Change]) -> float:
    trace, sources = runs(model)
    return metric_value(model, record(model, trace.tokens, changes, sources), metric)


def parts_of(members: Sequence[int]) -> list[tuple[int, ...]]:
    """Every proper part of a set, the empty one not among them."""
    return list(chain.from_iterable(combinations(members, size) for size in range(1, len(members))))


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_the_set_turns_the_answer_over_and_no_part_of_it_does(seed: int) -> None:
    model, candidates, sizes = random_model(SHAPE, seed), patches(), set[int]()
    for metric in flipping_metrics(model, 3):
        flip = found_by(model, metric, candidates)
        changes = [candidates[at] for at in flip.members]
        assert flip.before == pytest.approx(value(model, metric, ()), abs=1e-12)
        assert flip.after == pytest.approx(value(model, metric, changes), abs=1e-12)
        assert flip.flips == (flip.before * flip.after < 0)
        for at, alone, without in zip(flip.members, flip.alone, flip.without, strict=True):
            rest = [candidates[other] for other in flip.members if other != at]
            assert alone == pytest.approx(value(model, metric, [candidates[at]]), abs=1e-9)
            assert without == pytest.approx(value(model, metric, rest), abs=1e-12)
            assert not flip.flips or without * flip.before > 0
        for part in parts_of(flip.members) if flip.exhausted else ():
            assert value(model, metric, [candidates[at] for at in part]) * flip.before > 0
        sizes.add(len(flip.members) if flip.flips else 0)
    assert sizes - {0}


def test_a_set_of_one_or_two_is_as_small_as_any() -> None:
    model, candidates = random_model(SHAPE, 3), patches(PARTS[4:])
    every = [*parts_of(range(len(candidates))), tuple(range(len(candidates)))]
    seen = set[int]()
    for metric in flipping_metrics(model, 3):
        flip = found_by(model, metric, candidates)
        flipping = [
            part for part in every if value(model, metric, [candidates[at] for at in part]) * flip.before < 0
        ]
        least = min(map(len, flipping))
        assert flip.flips and flip.members in flipping
        assert not any(set(part) < set(flip.members) for part in flipping)
        assert least <= len(flip.members) if len(flip.members) > 2 else least == len(flip.members)
        seen.add(len(flip.members))
    assert max(seen) > 2 and min(seen) == 2


def test_no_more_members_than_were_allowed_and_the_best_found_where_there_is_no_flip() -> None:
    model = random_model(SHAPE, 3)
    metric = flipping_metrics(model, 1)[0]
    assert len(found_by(model, metric, patches()).members) == 2
    flip = found_by(model, metric, patches(), limit=1)
    assert not flip.flips and len(flip.members) == 1 and not flip.exhausted
    side = 1 if flip.before > 0 else -1
    singles = [value(model, metric, [patch]) * side for patch in patches()]
    assert flip.after == pytest.approx(min(singles) * side, abs=1e-9)


def test_what_cannot_move_the_metric_is_not_chosen() -> None:
    model = random_model(SHAPE, 1)
    (metric,) = flipping_metrics(model, 1)
    before_any_difference = [Patch(part, Span(0, 1), Span(0, 1)) for part in PARTS]
    flip = found_by(model, metric, before_any_difference)
    assert (flip.members, flip.flips, flip.after) == ((), False, flip.before)


def test_other_edits_stay_in_force() -> None:
    model = random_model(SHAPE, 1)
    edit = Ablate(Component(Kind.HEAD, 1, 0))
    trace, sources = runs(model)
    edited = record(model, A, (edit,), sources)
    for metric in flipping_metrics(model, 3):
        search = smallest_flip(model, edited, metric, patches(), sources)
        try:
            while True:
                next(search)
        except StopIteration as stop:
            flip: Flip = stop.value
        changes = [edit, *(patches()[at] for at in flip.members)]
        assert flip.after == pytest.approx(value(model, metric, changes), abs=1e-12)
    assert trace.changes == ()


def test_nodes_of_a_line_that_is_patched_already_are_replayed() -> None:
    model, other = random_model(SHAPE, 1), Sources(other=record(random_model(SHAPE, 1), B))
    (metric,) = flipping_metrics(model, 1)
    heads = [patch for patch in patches() if patch.component.layer == 1 and patch.component.index is not None]
    trace, seen = record(model, A, heads[:1], other), set[Site]()

    def watch(site: Site, layer: int, x: Tensor) -> Tensor:
        seen.add(site)
        return x

    scorer = metric_scorer(model, metric)
    for at, reached in measure(model, trace, scorer, heads, other, also=watch):
        wanted = value(model, metric, [heads[0], heads[at]])
        assert reached == pytest.approx(wanted, abs=1e-9)
    assert Site.Z not in seen  # a whole pass would have gone there


def test_a_search_can_be_stopped_at_every_site() -> None:
    model = random_model(SHAPE, 1)
    (metric,) = flipping_metrics(model, 1)
    trace, sources = runs(model)

    class Stopped(Exception):
        pass

    def stop(site: Site, layer: int, x: object) -> object:
        raise Stopped

    with pytest.raises(Stopped):
        list[Round](smallest_flip(model, trace, metric, patches(), sources, also=stop))  # pyright: ignore


def test_there_must_be_a_candidate_and_a_sign() -> None:
    model = random_model(SHAPE, 1)
    trace, sources = runs(model)
    metric = Metric(Quantity.LOGIT_DIFF, (3,), (4,), END)
    with pytest.raises(ValueError, match="nothing to patch"):
        next(smallest_flip(model, trace, metric, [], sources))
    same = Metric(Quantity.LOGIT_DIFF, (3,), (3,), END)
    with pytest.raises(ValueError, match="no sign to turn over"):
        next(smallest_flip(model, trace, same, patches(), sources))
