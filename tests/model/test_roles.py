"""Heads whose role is known, made by hand, get it and no other; scores are averages that a loop can check."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from model.about.roles import ATTENTION, CORRELATION, RAISED, Role, on_prompt, probe, suggest
from model.edits.interventions import Ablate
from model.gpt2 import GPT2, Config
from model.sites import Site
from model.trace import record
from tests.tiny import END, L1H2, LAST, TINY, TOKENS

VOCAB, CONTEXT, D_HEAD = 40, 40, 80
MADE = Config(n_layer=2, n_head=5, d_model=5 * D_HEAD, d_mlp=4, n_ctx=CONTEXT, n_vocab=VOCAB)
TOKEN, POS, EARLIER = slice(0, VOCAB), slice(VOCAB, 2 * VOCAB), slice(2 * VOCAB, 3 * VOCAB)
"Where the residual stream holds the token, its position, and the token before it: one place for each."
EYE = torch.eye(VOCAB, dtype=torch.float64)
SHARP = 3.0

PREVIOUS, DUPLICATE, FIRST, EVEN = ((0, index) for index in range(4))
INDUCTION, NEGATIVE, COPIER = ((1, index) for index in range(3))


def put(model: GPT2, head: tuple[int, int], which: str, rows: slice, columns: slice, value: Tensor) -> None:
    """Entries of a head's W_Q, W_K or W_V: residual `rows` -> the head's `columns`."""
    layer, index = head
    first = "qkv".index(which) * MADE.d_model + index * D_HEAD
    model.blocks[layer].attn.c_attn.weight[rows, first + columns.start : first + columns.stop] = value


def writes(model: GPT2, head: tuple[int, int], rows: slice, amount: float) -> None:
    """The head carries the tokens that it attends to into residual `rows`."""
    layer, index = head
    put(model, head, "v", TOKEN, TOKEN, EYE)
    model.blocks[layer].attn.c_proj.weight[index * D_HEAD : index * D_HEAD + VOCAB, rows] = amount * EYE


@pytest.fixture(scope="module")
def made() -> GPT2:
    """One-hot tokens and positions, no MLP, and heads that do exactly one thing."""
    model = GPT2(MADE).double().requires_grad_(False).eval()
    for name, parameter in model.named_parameters():
        parameter.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
    model.wte.weight[:, TOKEN] = EYE
    model.wpe.weight[:, POS] = EYE
    back = torch.diag(torch.ones(CONTEXT - 1, dtype=torch.float64), -1)  # position -> the one before
    for head in (PREVIOUS, NEGATIVE):
        put(model, head, "q", POS, TOKEN, SHARP * back)
        put(model, head, "k", POS, TOKEN, EYE)
    put(model, DUPLICATE, "q", TOKEN, TOKEN, SHARP * EYE)
    put(model, DUPLICATE, "k", TOKEN, TOKEN, EYE)
    put(model, DUPLICATE, "q", POS, POS, -SHARP * EYE)  # not itself
    put(model, DUPLICATE, "k", POS, POS, EYE)
    model.blocks[0].attn.c_attn.bias[FIRST[1] * D_HEAD] = SHARP * 10
    put(model, FIRST, "k", slice(VOCAB, VOCAB + 1), slice(0, 1), torch.ones(1, 1, dtype=torch.float64))
    put(model, INDUCTION, "q", TOKEN, TOKEN, 3 * SHARP * EYE)
    put(model, INDUCTION, "k", EARLIER, TOKEN, EYE)
    writes(model, PREVIOUS, EARLIER, 0.1)
    writes(model, INDUCTION, TOKEN, 1.0)
    writes(model, NEGATIVE, TOKEN, -1.0)
    writes(model, COPIER, TOKEN, 1.0)
    return model


EXPECTED = {
    Role.PREVIOUS: {PREVIOUS, NEGATIVE},
    Role.DUPLICATE: {DUPLICATE},
    Role.INDUCTION: {INDUCTION},
    Role.FIRST: {FIRST},
}


@pytest.mark.parametrize("start", [None, 7])
@pytest.mark.parametrize("role", EXPECTED, ids=str)
def test_a_head_made_for_a_role_scores_one_and_others_what_even_attention_gives(
    made: GPT2, role: Role, start: int | None
) -> None:
    score = probe(made, seed=3, length=17, batch=3, start=start).scores[role].score
    for head in np.ndindex(score.shape):
        if head in EXPECTED[role]:
            assert score[head] > 0.95
        else:
            assert score[head] < 0.15
    assert score.shape == (MADE.n_layer, MADE.n_head)


def test_copying_is_one_negative_copying_minus_one_and_nothing_is_zero(made: GPT2) -> None:
    roles = probe(made, length=17, batch=2)
    copying = roles.scores[Role.COPYING].score
    assert min(copying[INDUCTION], copying[COPIER]) > 0.98
    assert copying[NEGATIVE] < -0.98  # the values' own norm has a scale for each token
    others = [head for head in np.ndindex(copying.shape) if head not in (INDUCTION, COPIER, NEGATIVE)]
    assert [roles.raised[head] for head in others] == pytest.approx([0] * len(others), abs=1e-9)
    assert [copying[head] for head in others if head != PREVIOUS] == [0] * (
        len(others) - 1
    )  # these write nothing
    assert roles.raised[INDUCTION] > 1 > 0 > -1 > roles.raised[NEGATIVE]
    assert roles.raised[DUPLICATE] == 0


def test_heads_are_suggested_by_their_role_best_first_and_those_that_rest_last(made: GPT2) -> None:
    found = suggest(probe(made, length=17, batch=2))
    roles = {(each.head.layer, each.head.index): each.role for each in found}
    assert roles == {
        PREVIOUS: "previous-token",
        DUPLICATE: "duplicate-token",
        INDUCTION: "induction",
        NEGATIVE: "previous-token",
        COPIER: "copying",
        FIRST: "first-token",
    }
    assert found[-1].role == "first-token"
    scores = [each.score for each in found[:-1]]
    assert scores == sorted(scores, reverse=True)
    (induction,) = (str(each) for each in found if each.role == "induction")
    assert induction.startswith("L1H0: induction ") and "copying 1.00" in induction
    assert any("negative-copying -" in str(each) for each in found)


def test_the_example_is_a_place_that_shows_the_role(made: GPT2) -> None:
    roles = probe(made, seed=5, length=12, batch=3)
    for role, head, shift in (
        (Role.PREVIOUS, PREVIOUS, 1),
        (Role.DUPLICATE, DUPLICATE, 12),
        (Role.INDUCTION, INDUCTION, 11),
    ):
        score = roles.scores[role]
        sequence, query, key = score.example[head]
        assert query - key == shift
        pattern = record(made, roles.sequences[sequence])[Site.PATTERN, head[0]]
        assert score.strength[head] == pytest.approx(float(pattern[head[1], query, key]))
    assert (
        roles.scores[Role.DUPLICATE].count == 3 * 12 - 3
    )  # a token whose first occurrence is the first of all
    assert roles.scores[Role.PREVIOUS].count == 3 * 22


def test_sequences_are_different_tokens_said_twice_and_come_from_the_seed(made: GPT2) -> None:
    roles = probe(made, seed=1, length=9, batch=4, start=7, allowed=range(5, 30))
    for sequence in roles.sequences:
        assert sequence[0] == 7 and sequence[1:10] == sequence[10:]
        assert len(set(sequence[1:10])) == 9
        assert set(sequence[1:]) <= set(range(5, 30)) - {7}
    assert len(set(roles.sequences)) == 4
    assert probe(made, seed=1, length=9, batch=4, start=7, allowed=range(5, 30)).sequences == roles.sequences
    assert probe(made, seed=2, length=9, batch=4, start=7, allowed=range(5, 30)).sequences != roles.sequences


def test_tokens_that_were_never_trained_are_not_drawn(made: GPT2) -> None:
    model = GPT2(MADE).double().requires_grad_(False)
    model.load_state_dict(made.state_dict())
    model.wte.weight[[3, 9]] = model.wte.weight.mean(0)
    drawn = {token for sequence in probe(model, length=19, batch=4).sequences for token in sequence}
    assert len(drawn) > 19 and not drawn & {3, 9}
    with pytest.raises(ValueError, match="3 to 38"):
        probe(model, length=39)


def looped(roles_tokens: Sequence[int], pattern: np.ndarray, role: Role) -> float:
    """One head's score by going through the text: pattern [query, key]."""
    found = []
    for query, token in enumerate(roles_tokens):
        match role:
            case Role.PREVIOUS:
                keys = [query - 1] if query > 1 else []
            case Role.DUPLICATE:
                keys = [k for k in range(1, query) if roles_tokens[k] == token]
            case Role.INDUCTION:
                keys = [k for k in range(1, query) if roles_tokens[k - 1] == token]
            case _:
                keys = [0] if query else []
        if keys:
            found.append(sum(pattern[query, key] for key in keys))
    return float(np.mean(found)) if found else math.nan


PROMPTS = {"repeats": TOKENS, "many repeats": (4, 8, 4, 8, 8, 8, 4, 1), "none": (1, 2, 3, 4)}


@pytest.mark.parametrize("tokens", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("role", EXPECTED, ids=str)
def test_scores_on_a_prompt_are_means_over_the_queries_that_have_such_a_key(
    tiny: GPT2, role: Role, tokens: tuple[int, ...]
) -> None:
    trace = record(tiny, tokens)
    score = on_prompt(tiny, trace).scores[role]
    for layer, index in np.ndindex(score.score.shape):
        pattern = trace[Site.PATTERN, layer][index].numpy()
        assert score.score[layer, index] == pytest.approx(looped(tokens, pattern, role), nan_ok=True)
        sequence, query, key = score.example[layer, index]
        if score.count:
            assert score.strength[layer, index] == pattern[query, key] and sequence == 0
        else:
            assert query == -1 and math.isnan(score.strength[layer, index])


def test_copying_on_a_prompt_is_a_correlation_over_tokens_and_queries(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    roles = on_prompt(tiny, trace)
    tokens = sorted(set(TOKENS) - {TOKENS[0]})
    for layer, index in np.ndindex(TINY.n_layer, TINY.n_head):
        w_o = tiny.blocks[layer].attn.c_proj.weight[index * TINY.d_head : (index + 1) * TINY.d_head]
        attended, effects = [], []
        for query in range(1, len(TOKENS)):
            write = trace[Site.Z, layer][index, query] @ w_o
            seen = (write - write.mean()) / trace[Site.LN_FINAL_SCALE, 0][query] * tiny.ln_f.weight
            row = np.array([float(seen @ tiny.unembedding[token]) for token in tokens])
            effects.append(row - row.mean())
            pattern = trace[Site.PATTERN, layer][index, query].numpy()
            attended.append(
                np.array(
                    [
                        sum(p for p, t in zip(pattern[1:], TOKENS[1:], strict=True) if t == token)
                        for token in tokens
                    ]
                )
            )
        centred = np.array([row - row.mean() for row in attended])
        correlation = (centred * effects).sum() / math.sqrt((centred**2).sum() * np.square(effects).sum())
        assert roles.scores[Role.COPYING].score[layer, index] == pytest.approx(correlation)
        assert roles.raised[layer, index] == pytest.approx((np.array(attended) * effects).sum(1).mean())
        _, query, key = roles.scores[Role.COPYING].example[layer, index]
        pattern = trace[Site.PATTERN, layer][index, query, key]
        strongest = float(pattern) * effects[query - 1][tokens.index(TOKENS[key])]
        assert roles.scores[Role.COPYING].strength[layer, index] == pytest.approx(strongest)


def test_edits_show_in_the_scores_of_what_was_recorded(tiny: GPT2) -> None:
    before, after = (on_prompt(tiny, record(tiny, TOKENS, edits)) for edits in ((), (Ablate(L1H2),)))
    assert before.raised[1, 2] != 0 == after.raised[1, 2]
    pair = on_prompt(tiny, record(tiny, TOKENS, (Ablate(L1H2, LAST, key=END - 1),)))
    assert pair.scores[Role.PREVIOUS].score[1, 2] < before.scores[Role.PREVIOUS].score[1, 2]


def test_every_suggestion_is_above_its_threshold_and_every_head_above_one_is_suggested(tiny: GPT2) -> None:
    roles = on_prompt(tiny, record(tiny, TOKENS))
    found = {(each.head.layer, each.head.index): each for each in suggest(roles)}
    for at in np.ndindex(TINY.n_layer, TINY.n_head):
        looks = {role: roles.scores[role].score[at] for role in EXPECTED}
        copying = roles.scores[Role.COPYING].score[at]
        copies = abs(copying) >= CORRELATION and abs(roles.raised[at]) >= RAISED
        assert (at in found) == (copies or any(score >= ATTENTION for score in looks.values()))
        if at in found and found[at].role in {role.value for role in EXPECTED}:
            assert found[at].score >= ATTENTION
    assert found


def test_a_text_of_one_token_says_nothing(tiny: GPT2) -> None:
    roles = on_prompt(tiny, record(tiny, (5,)))
    assert all(np.isnan(each.score).all() and each.count == 0 for each in roles.scores.values())
    assert suggest(roles) == []


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"length": 2}, "length 2"),
        ({"length": VOCAB + 1}, "different tokens"),
        ({"length": 21}, "context is 40"),
        ({"length": 20, "start": 1}, "context is 40"),
        ({"length": 5, "batch": 0}, "batch 0"),
        ({"length": 5, "allowed": [1, 2, 2, 2, 2]}, "3 to 2"),
    ],
)
def test_sequences_that_do_not_fit_are_refused(made: GPT2, asked: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        probe(made, **asked)


def test_a_probe_can_be_stopped(made: GPT2) -> None:
    def stop(site: Site, layer: int, x: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe(made, length=5, also=stop)
