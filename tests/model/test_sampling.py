"""Generation: against transformers, against one pass a token, and under edits."""

from collections import Counter
from itertools import islice

import pytest
import torch
from torch import Tensor

from model.edits.interventions import Ablate, Change, Mode, Sources, Span
from model.gpt2 import GPT2
from model.sites import Site
from model.trace import logits_at, record
from tests.sampled import generate
from tests.tiny import A1, END, L1H2, M1, TINY, TOKEN_EMBED, TOKENS, random_model


def one_pass_a_token(model: GPT2, count: int, changes: tuple[Change, ...], sources: Sources) -> list[int]:
    tokens: list[int] = list(TOKENS)
    for _ in range(count):
        trace = record(model, tokens, changes, sources)
        tokens.append(int(logits_at(model, trace, len(tokens) - 1).argmax()))
    return tokens[len(TOKENS) :]


@pytest.mark.peers
@pytest.mark.parametrize("seed", range(3))
def test_greedy_generation_is_transformers(seed: int) -> None:
    transformers = pytest.importorskip("transformers")
    model = random_model(seed=seed)
    config = transformers.GPT2Config(
        vocab_size=TINY.n_vocab, n_positions=TINY.n_ctx, n_embd=TINY.d_model, n_layer=3, n_head=4,
        bos_token_id=0, eos_token_id=None, attn_implementation="eager",
    )  # fmt: skip
    theirs = transformers.GPT2LMHeadModel(config).double().eval()
    names = {k: k if k == "lm_head.weight" else f"transformer.{k}" for k in model.state_dict()}
    theirs.load_state_dict({names[k]: v for k, v in model.state_dict().items()}, strict=True)
    ids = torch.tensor([TOKENS])
    mask = torch.ones_like(ids)
    out = theirs.generate(ids, attention_mask=mask, max_new_tokens=16, do_sample=False, pad_token_id=0)
    assert list(generate(model, TOKENS, 16)) == out[0, len(TOKENS) :].tolist()


@pytest.mark.parametrize(
    "changes",
    [
        (),
        (Ablate(A1),),
        (Ablate(L1H2, mode=Mode.SCALE, amount=4.0),),
        (Ablate(M1, Span(2, END)),),
        (Ablate(TOKEN_EMBED, Span(0, 3), mode=Mode.MEAN),),
        (Ablate(M1, mode=Mode.MEAN),),
    ],
    ids=lambda changes: "; ".join(map(str, changes)) or "none",
)
def test_edits_apply_to_every_token_generated(
    tiny: GPT2, sources: Sources, changes: tuple[Change, ...]
) -> None:
    generated = list(generate(tiny, TOKENS, 8, changes, sources))
    assert generated == one_pass_a_token(tiny, 8, changes, sources)


def test_an_edit_everywhere_reaches_generated_tokens_and_a_placed_one_does_not(tiny: GPT2) -> None:
    seen: list[Tensor] = []

    def keep(site: Site, layer: int, x: Tensor) -> Tensor:
        if site is Site.RESID_POST and layer == 1:
            seen.append(x[0])
        if site is Site.RESID_MID and layer == 1:
            seen.append(x[0])
        return x

    list(generate(tiny, TOKENS, 2, [Ablate(M1)], also=keep))
    assert torch.equal(seen[-1], seen[-2]) and len(seen[-1]) == len(TOKENS) + 1
    list(generate(tiny, TOKENS, 2, [Ablate(M1, Span(0, END))], also=keep))
    assert torch.equal(seen[-1][: END + 1], seen[-2][: END + 1])
    assert not torch.equal(seen[-1][END + 1], seen[-2][END + 1])


def test_a_seed_gives_the_same_text_again(tiny: GPT2) -> None:
    texts = [tuple(generate(tiny, TOKENS, 10, temperature=1.0, seed=seed)) for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


def test_sampling_leaves_torchs_own_random_state(tiny: GPT2) -> None:
    before = torch.random.get_rng_state()
    list(generate(tiny, TOKENS, 3, temperature=1.0, seed=1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_tokens_are_drawn_as_often_as_they_are_likely(tiny: GPT2) -> None:
    """400 draws at temperature 2 among the 3 likeliest: each count within 4 standard deviations."""
    logits = logits_at(tiny, record(tiny, TOKENS), END)
    best = logits.topk(3)
    likely = (best.values / 2).softmax(-1)
    count = Counter(
        next(generate(tiny, TOKENS, 1, temperature=2.0, top_k=3, seed=seed)) for seed in range(400)
    )
    assert set(count) <= set(best.indices.tolist())
    for token, p in zip(best.indices.tolist(), likely.tolist(), strict=True):
        assert abs(count[token] - 400 * p) <= 4 * (400 * p * (1 - p)) ** 0.5


def test_one_candidate_or_a_cold_model_is_greedy(tiny: GPT2) -> None:
    greedy = list(generate(tiny, TOKENS, 8))
    assert list(generate(tiny, TOKENS, 8, temperature=1.0, top_k=1, seed=4)) == greedy
    assert list(generate(tiny, TOKENS, 8, temperature=1e-6, seed=4)) == greedy
    assert list(generate(tiny, TOKENS, 8, temperature=1.0, top_k=10_000, seed=4)) == list(
        generate(tiny, TOKENS, 8, temperature=1.0, seed=4)
    )


def test_generation_ends_with_the_context(tiny: GPT2) -> None:
    assert len(list(generate(tiny, TOKENS, 1000))) == TINY.n_ctx - len(TOKENS)
    assert list(generate(tiny, [1] * TINY.n_ctx, 5)) == []
    assert list(generate(tiny, TOKENS, 0)) == []


def test_generation_yields_as_it_goes_and_stops_when_a_hook_raises(tiny: GPT2) -> None:
    class Stop(Exception):
        pass

    def stop(site: Site, layer: int, x: Tensor) -> Tensor:
        if x.shape[1] > len(TOKENS) + 1 and site is Site.RESID_PRE:
            raise Stop
        return x

    running = generate(tiny, TOKENS, 5, also=stop)
    first = list(islice(running, 2))
    assert first == list(generate(tiny, TOKENS, 2))
    with pytest.raises(Stop):
        next(running)


def test_a_generator_that_waits_leaves_gradients_on(tiny: GPT2) -> None:
    with torch.enable_grad():
        running = generate(tiny, TOKENS, 3)
        next(running)
        assert torch.is_grad_enabled()


@pytest.mark.cuda
def test_a_gpu_generates_the_same(tiny: GPT2) -> None:
    there = random_model().to("cuda")
    assert list(generate(there, TOKENS, 8)) == list(generate(tiny, TOKENS, 8))
    sampled = [list(generate(model, TOKENS, 8, temperature=1.0, seed=3)) for model in (there, tiny)]
    assert sampled[0] == sampled[1]
