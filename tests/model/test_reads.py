"""Token lists of a node are its direct effects and the derivatives of what it computes; glitch tokens by rule."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.about.reads import Ends, Unit, driving, impossible, promoted, top_tokens, untrained
from model.components import Component, Kind, Node
from model.edits.interventions import Sources
from model.effects import attribution
from model.effects.writes import effects_of, write_of
from model.gpt2 import GPT2
from model.metrics import Metric, Quantity
from model.sites import Hook, Site, compose
from model.targets import Via, metric_target, trace_target
from model.tokenizer import make_tokenizer
from model.trace import RECORDED, record
from model.vocabulary import Vocabulary
from tests.tiny import BA1, BM1, EDITS, EMBED, END, FINAL_BIAS, L1H2, M1, N1, TINY, TOKENS
from tests.writes import holding

HEAD = Component(Kind.HEAD, 2, 1)
NODES = (Node(L1H2, END), Node(L1H2, END, 2), Node(M1, END), Node(N1, END), Node(EMBED, END))
BIASES = (Node(BA1, END), Node(BM1, END), Node(FINAL_BIAS, END))


@pytest.mark.parametrize("edit", ["none", "neuron value", "pair patch", "final bias"])
@pytest.mark.parametrize("node", [*NODES, *BIASES], ids=str)
def test_N_what_a_node_promotes_is_its_direct_effect_on_every_tokens_logit(
    tiny: GPT2, sources: Sources, node: Node, edit: str
) -> None:
    trace = record(tiny, TOKENS, EDITS[edit], sources)
    effects, tokens = [], range(0, TINY.n_vocab, 8)
    for token in tokens:
        by = attribution.gradients(tiny, trace, Metric(Quantity.LOGIT, (token,), (), END), sources)
        effects.append(effects_of(tiny, trace, by, node).direct)
    np.testing.assert_allclose(promoted(tiny, trace, node)[tokens], effects, rtol=1e-9, atol=1e-12)


def test_what_a_node_promotes_is_read_at_its_own_token(tiny: GPT2) -> None:
    node = Node(N1, 3)
    trace = record(tiny, TOKENS)
    by = attribution.gradients(tiny, trace, Metric(Quantity.LOGIT, (41,), (), 3))
    assert promoted(tiny, trace, node)[41] == pytest.approx(effects_of(tiny, trace, by, node).direct)


@pytest.mark.parametrize("node", NODES, ids=str)
def test_the_transformer_debuggers_score_is_the_weighted_write_on_the_unembedding_less_its_mean(
    tiny: GPT2, node: Node
) -> None:
    trace = record(tiny, TOKENS)
    raw = [float(write_of(tiny, trace, node) @ (tiny.ln_f.weight * row)) for row in tiny.unembedding]
    scores = promoted(tiny, trace, node, Unit.TDB)
    np.testing.assert_allclose(scores, np.array(raw) - np.mean(raw), rtol=1e-9, atol=1e-12)


def test_a_target_promotes_nothing(tiny: GPT2) -> None:
    with pytest.raises(ValueError):
        promoted(tiny, record(tiny, TOKENS), Node(Component(Kind.UNEMBED), END))


def adding(token: int, pos: int, site: Site, layer: int, amount: float, tiny: GPT2) -> Hook:
    """A token's embedding added to the residual stream there."""

    def hook(at: Site, where: int, x: torch.Tensor) -> torch.Tensor:
        if (at, where) != (site, layer):
            return x
        x = x.clone()
        x[:, pos] += amount * tiny.wte.weight[token]
        return x

    return hook


@pytest.mark.parametrize("token", [0, 17, 112])
def test_a_neurons_driving_tokens_are_the_slope_of_its_preactivation_with_the_scale_held(
    tiny: GPT2, token: int
) -> None:
    pos, step = 4, 1e-3
    trace = record(tiny, TOKENS)
    (read,) = driving(tiny, trace, Node(N1, pos))
    after = []
    for amount in (step, -step):
        hook = compose(
            adding(token, pos, Site.RESID_MID, 1, amount, tiny), holding(trace, [(Site.LN2_SCALE, 1)])
        )
        after.append(float(record(tiny, TOKENS, also=hook)[Site.MLP_PRE, 1][pos, 11]))
    assert read.pos == pos
    assert read.scores[token] == pytest.approx((after[0] - after[1]) / (2 * step), rel=1e-7)


@pytest.mark.parametrize(("via", "pos"), [(Via.Q, END), (Via.K, 3)])
def test_a_heads_query_and_key_tokens_are_the_slope_of_its_score_at_that_end(
    tiny: GPT2, via: Via, pos: int
) -> None:
    token, step = 29, 1e-3
    sites = RECORDED | {Site.SCORES}
    trace = record(tiny, TOKENS)
    (read,) = driving(tiny, trace, Node(HEAD, END, 3), via)
    after = []
    for amount in (step, -step):
        hook = compose(
            adding(token, pos, Site.RESID_PRE, 2, amount, tiny), holding(trace, [(Site.LN1_SCALE, 2)])
        )
        after.append(float(record(tiny, TOKENS, also=hook, sites=sites)[Site.SCORES, 2][1, END, 3]))
    assert read.pos == pos
    assert read.scores[token] == pytest.approx((after[0] - after[1]) / (2 * step), rel=1e-7)


def test_through_both_ends_there_are_both_lists(tiny: GPT2) -> None:
    trace, node = record(tiny, TOKENS), Node(HEAD, END, 3)
    both = driving(tiny, trace, node)
    for read, via in zip(both, (Via.Q, Via.K), strict=True):
        (alone,) = driving(tiny, trace, node, via)
        assert read.pos == alone.pos
        np.testing.assert_array_equal(read.scores, alone.scores)


def test_a_value_and_an_mlp_are_driven_for_what_they_are_wanted(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    metric = metric_target(tiny, trace, Metric(Quantity.LOGIT, (41,), (), END))
    reads = driving(tiny, trace, Node(HEAD, END), Via.V, metric)
    assert [read.pos for read in reads] == list(range(END + 1))
    assert len(driving(tiny, trace, Node(M1, END), None, metric)) == 1
    with pytest.raises(ValueError, match="downstream"):
        driving(tiny, trace, Node(M1, END))
    with pytest.raises(ValueError, match="cannot be traced"):
        driving(tiny, trace, Node(EMBED, END))


def test_driving_by_all_embeddings_read_is_the_embeddings_direct_effect(tiny: GPT2) -> None:
    trace, node = record(tiny, TOKENS), Node(replace(N1, layer=0), 4)
    by = attribution.gradients(tiny, trace, trace_target(tiny, trace, node))
    (read,) = driving(tiny, trace, node)
    token = effects_of(tiny, trace, by, Node(Component(Kind.TOKEN_EMBED), 4)).direct
    assert read.scores[TOKENS[4]] == pytest.approx(token)


def test_top_tokens_are_both_ends_in_order_without_what_is_excluded() -> None:
    scores = np.array([0.5, 3.0, -2.0, 3.0, 9.0, -7.0])
    exclude = np.array([False, False, False, False, True, False])
    assert top_tokens(scores, 2, exclude) == Ends(((1, 3.0), (3, 3.0)), ((5, -7.0), (2, -2.0)))
    assert [id for id, _ in top_tokens(scores, 99).top] == [4, 1, 3, 0, 2, 5]
    assert top_tokens(scores, 0) == Ends((), ())


def cloud(rows: int = 2000, d_model: int = 64, seed: int = 0) -> torch.Tensor:
    """Embeddings as trained ones are: of different lengths, in a cone far from the origin."""
    generator = torch.Generator().manual_seed(seed)
    length = 1 + 0.1 * torch.randn(rows, 1, generator=generator)
    return 3.0 + length * torch.randn(rows, d_model, generator=generator)


def nearly(place: torch.Tensor, rows: int) -> torch.Tensor:
    return place + 0.05 * torch.randn(rows, len(place), generator=torch.Generator().manual_seed(1))


def test_tokens_planted_near_the_mean_are_untrained_and_ordinary_ones_are_not() -> None:
    embedding = cloud()
    planted = [5, 700, 1999]
    embedding[planted] = nearly(embedding.mean(0), 3)
    assert np.flatnonzero(untrained(embedding)).tolist() == planted


@pytest.mark.parametrize("rows", [30, 1500])
def test_tokens_planted_at_the_unused_ones_are_untrained_wherever_that_is_and_however_many(rows: int) -> None:
    embedding = cloud()
    embedding[:rows] = nearly(torch.full((64,), 7.0), rows)
    never = range(13)
    found = untrained(embedding, never)
    assert not found[rows:].any()
    assert found[:rows].mean() > 0.98  # a few stray further than the thirteen that are known


def test_in_an_untrained_model_nothing_stands_out_but_what_is_known(tiny: GPT2) -> None:
    assert not untrained(tiny.wte.weight).any()
    assert np.flatnonzero(untrained(tiny.wte.weight, (3, 50, 51, 90))).tolist() == [3, 50, 51, 90]
    assert not untrained(torch.eye(20)).any()


def test_the_rule_does_not_depend_on_the_embeddings_unit_or_origin() -> None:
    embedding = cloud()
    embedding[:40] = nearly(torch.full((64,), 7.0), 40)
    found = untrained(embedding, range(13))
    np.testing.assert_array_equal(untrained(0.001 * embedding - 4, range(13)), found)


def test_no_text_uses_rows_without_a_token_and_bytes_that_utf8_never_has() -> None:
    ids = {bytes([byte]): byte for byte in range(256)} | {b"ab": 256, b"\xc3\xa9": 258}
    tokenizer = make_tokenizer(Vocabulary(ids, [(b"a", b"b"), (b"\xc3", b"\xa9")], {"<|endoftext|>": 259}))
    assert impossible(tokenizer, 262) == (0xC0, 0xC1, *range(0xF5, 0x100), 257, 260, 261)
