"""Why a head looks there: parts of a score add up to it, and each is what its source alone writes."""

import math

import numpy as np
import pytest
import torch

from model.about.scores import row_scores, score_parts
from model.components import Component, Kind, Node
from model.edits.interventions import Sources
from model.effects import attribution
from model.effects.writes import effects_of, write_of
from model.gpt2 import GPT2
from model.sites import Site
from model.targets import Via, trace_target
from model.trace import RECORDED, record
from tests.naive import Naive
from tests.tiny import EDITS, END, TINY, TOKENS, random_model

HEAD = Component(Kind.HEAD, 2, 1)
ENDS = (Via.Q, Via.K)


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("via", ENDS)
def test_parts_add_up_to_every_score_of_the_row_whatever_has_been_edited(
    tiny: GPT2, sources: Sources, edit: str, via: Via
) -> None:
    trace = record(tiny, TOKENS, EDITS[edit], sources, sites=RECORDED | {Site.SCORES})
    for query in (0, 3, END):
        found = score_parts(tiny, trace, HEAD, query, via)
        scores = trace[Site.SCORES, 2][1, query, : query + 1].numpy()
        np.testing.assert_allclose(found.scores, scores, rtol=0, atol=1e-9)
        np.testing.assert_allclose(row_scores(trace, HEAD, query), scores, rtol=0, atol=1e-12)
        assert found.parts.shape == (len(found.sources), query + 1)
        assert len(set(found.sources)) == len(found.sources)


@pytest.mark.parametrize("edit", ["none", "attn zero", "mlp patch", "embedding zero", "many"])
@pytest.mark.parametrize("via", ENDS)
def test_contrasts_add_up_to_the_score_minus_the_mean_of_the_others(
    tiny: GPT2, sources: Sources, edit: str, via: Via
) -> None:
    trace = record(tiny, TOKENS, EDITS[edit], sources, sites=RECORDED | {Site.SCORES})
    scores = trace[Site.SCORES, 2][1, END].numpy()
    found = score_parts(tiny, trace, HEAD, END, via)
    for key in range(END + 1):
        others = np.delete(scores, key).mean()
        assert found.contrast(key).sum() == pytest.approx(scores[key] - others, abs=1e-9)
        assert found.rest(key).sum() == pytest.approx(others, abs=1e-9)
        for other in (0, END):
            if other != key:
                contrast = found.contrast(key, against=other)
                assert contrast.sum() == pytest.approx(scores[key] - scores[other], abs=1e-9)


@pytest.mark.parametrize("via", ENDS)
def test_a_part_is_what_the_source_alone_wrote_there_in_loops(tiny: GPT2, naive: Naive, via: Via) -> None:
    """Normalised with the run's own mean and scale, the source's share of both, then W_Q or W_K, no bias."""
    run, layer, query = naive.run(TOKENS), 2, 4
    found = score_parts(tiny, record(tiny, TOKENS), HEAD, query, via)
    w, d_head = naive.w, TINY.d_head
    columns = slice((via is Via.K) * TINY.d_model + d_head, (via is Via.K) * TINY.d_model + 2 * d_head)
    matrix, gain = w[f"h.{layer}.attn.c_attn.weight"][:, columns], w[f"h.{layer}.ln_1.weight"]
    q, k = run["q", layer][1], run["k", layer][1]
    for key in range(query + 1):
        at, other = (query, k[key]) if via is Via.Q else (key, q[query])
        resid = run["resid_pre", layer][at]
        scale = math.sqrt(resid.var() + TINY.ln_eps)
        writes = {"WTE": run["embed", 0][at], "WPE": run["pos_embed", 0][at]}
        for before in range(layer):
            writes |= {f"L{before}H{h}": run.pairs[before][h, at].sum(0) for h in range(TINY.n_head)}
            writes |= {
                f"BA{before}": run["attn_bias", before][at],
                f"BM{before}": run["mlp_bias", before][at],
            }
            writes[f"M{before}"] = run.neurons[before][:, at].sum(0)
        *sources, own = found.sources
        assert {str(source) for source in sources} == writes.keys()
        for row, source in enumerate(sources):
            write = writes[str(source)]
            expected = ((write - write.mean()) / scale * gain) @ matrix @ other / math.sqrt(d_head)
            assert found.parts[row, key] == pytest.approx(expected, abs=1e-10), source
        assert own.kind is Kind.TARGET_BIAS


@pytest.mark.parametrize("via", ENDS)
def test_parts_are_the_direct_effects_on_the_traced_score(tiny: GPT2, via: Via) -> None:
    """The same numbers as tracing the score through that end, by another road."""
    trace, key = record(tiny, TOKENS), 3
    found = score_parts(tiny, trace, HEAD, END, via)
    by = attribution.gradients(tiny, trace, trace_target(tiny, trace, Node(HEAD, END, key), via))
    at = END if via is Via.Q else key
    for row, source in enumerate(found.sources[:-1]):
        expected = effects_of(tiny, trace, by, Node(source, at)).direct
        assert found.parts[row, key] == pytest.approx(expected, abs=1e-12), source


def test_a_heads_part_at_a_key_is_its_write_there_not_at_the_query(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    by_key = score_parts(tiny, trace, HEAD, END, Via.K)
    row = by_key.sources.index(Component(Kind.HEAD, 0, 1))
    q = trace[Site.Q, 2][1, END]
    for key in range(END + 1):
        write = write_of(tiny, trace, Node(Component(Kind.HEAD, 0, 1), key))
        normed = (write - write.mean()) / trace[Site.LN1_SCALE, 2][key] * tiny.blocks[2].ln_1.weight
        columns = slice(TINY.d_model + TINY.d_head, TINY.d_model + 2 * TINY.d_head)
        moved = normed @ tiny.blocks[2].attn.c_attn.weight[:, columns] @ q / math.sqrt(TINY.d_head)
        assert by_key.parts[row, key] == pytest.approx(float(moved), abs=1e-12)


def test_what_every_key_shares_has_no_contrast_through_the_keys(tiny: GPT2) -> None:
    """The key's own bias adds the same to every score, which softmax does not see."""
    found = score_parts(tiny, record(tiny, TOKENS), HEAD, END, Via.K)
    assert found.sources[-1].kind is Kind.TARGET_BIAS
    assert abs(found.parts[-1]).max() > 1e-3
    assert found.contrast(3)[-1] == pytest.approx(0, abs=1e-12)


def test_in_the_first_layer_only_embeddings_and_the_layer_itself_have_a_part(tiny: GPT2) -> None:
    found = score_parts(tiny, record(tiny, TOKENS), Component(Kind.HEAD, 0, 2), 3, Via.Q)
    assert [str(source) for source in found.sources] == ["WTE", "WPE", "BT"]


def test_half_precision_balances_to_what_half_precision_keeps() -> None:
    model = random_model(dtype=torch.bfloat16)
    trace = record(model, TOKENS, sites=RECORDED | {Site.SCORES})
    for via in ENDS:
        found = score_parts(model, trace, HEAD, END, via)
        scores = trace[Site.SCORES, 2][1, END].double().numpy()
        assert np.abs(found.scores - scores).max() < 0.05 * np.abs(scores).max()


def test_what_cannot_be_compared_is_refused_in_one_sentence(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    found = score_parts(tiny, trace, HEAD, 2, Via.Q)
    with pytest.raises(ValueError, match="query 2 does not see token 3: it sees 0 to 2"):
        found.contrast(3)
    with pytest.raises(ValueError, match="query 2 does not see token 5"):
        found.contrast(1, against=5)
    with pytest.raises(ValueError, match="cannot be compared with itself"):
        found.contrast(1, against=1)
    with pytest.raises(ValueError, match="sees no other key"):
        score_parts(tiny, trace, HEAD, 0, Via.K).contrast(0)
    with pytest.raises(ValueError, match="A1 has no scores"):
        score_parts(tiny, trace, Component(Kind.ATTN, 1), 2, Via.Q)
    with pytest.raises(ValueError, match="q or k"):
        score_parts(tiny, trace, HEAD, 2, Via.V)
