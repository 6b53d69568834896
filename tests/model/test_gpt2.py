"""The forward pass, against numpy loops and against transformers."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from model.edits.interventions import Ablate, Change, Span, as_hook
from model.gpt2 import GPT2, Config
from model.metrics import Metric
from model.sites import Site, compose, no_hook
from model.trace import RECORDED, metric_value, record, recorder
from tests.naive import Naive
from tests.rounding import metric_bound
from tests.tiny import A1, EARLY, EDITS, L1H2, LD, M1, TINY, TOKENS, in_float64, random_model

SHAPES = {
    "odd sizes": Config(n_layer=2, n_head=3, d_model=33, d_mlp=77, n_ctx=19, n_vocab=71),
    "like distilgpt2, narrow": Config(n_layer=6, n_head=12, d_model=96, d_mlp=384, n_ctx=64, n_vocab=301),
    "one head, one layer, wide mlp": Config(n_layer=1, n_head=1, d_model=20, d_mlp=200, n_ctx=8, n_vocab=50),
    "tiny, large eps": replace(TINY, ln_eps=1e-3),
}


ALONE = [name for name in EDITS if name != "many" and not name.endswith("mean") and "patch" not in name]
"Edits that take no values from other runs."


def prompt(config: Config, batch: int = 2) -> Tensor:
    """Random tokens, as many as fit: [batch, pos]."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(config.n_vocab, (batch, config.n_ctx), generator=generator)


@pytest.fixture(params=SHAPES)
def pair(request: pytest.FixtureRequest) -> tuple[GPT2, nn.Module]:
    """Our model and transformers', with the same weights."""
    model = random_model(SHAPES[request.param], seed=3)
    return model, twin(model)


def twin(model: GPT2) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    c = model.config
    config = transformers.GPT2Config(
        vocab_size=c.n_vocab, n_positions=c.n_ctx, n_embd=c.d_model, n_layer=c.n_layer, n_head=c.n_head,
        n_inner=c.d_mlp, layer_norm_epsilon=c.ln_eps, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
        bos_token_id=0, eos_token_id=None, attn_implementation="eager",
    )  # fmt: skip
    theirs = transformers.GPT2LMHeadModel(config).double().eval()
    state = {"lm_head.weight": model.lm_head.weight}
    state |= {f"transformer.{k}": v for k, v in model.state_dict().items() if k != "lm_head.weight"}
    theirs.load_state_dict(state, strict=True)
    return theirs


def close(ours: Tensor, theirs: Tensor, bound: float = 1e-10) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= bound


@pytest.mark.peers
@torch.no_grad()
def test_logits_patterns_and_hidden_states_agree_with_transformers(pair: tuple[GPT2, nn.Module]) -> None:
    model, theirs = pair
    tokens = prompt(model.config)
    seen: dict[tuple[Site, int], Tensor] = {}

    def keep(site: Site, layer: int, x: Tensor) -> Tensor:
        seen[site, layer] = x
        return x

    logits = model(tokens, keep)
    out = theirs(tokens, output_attentions=True, output_hidden_states=True)
    close(logits, out.logits)
    last = model.config.n_layer - 1
    for layer in range(model.config.n_layer):
        close(seen[Site.PATTERN, layer], out.attentions[layer])
        close(seen[Site.RESID_PRE, layer], out.hidden_states[layer])
    close(seen[Site.LN_FINAL, 0], out.hidden_states[last + 1])


def their_head_zero(theirs: nn.Module, layer: int, head: int, d_head: int) -> RemovableHandle:
    """Zero one head's part of what attention's output projection is given."""

    def cut(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = args[0].clone()
        x[..., head * d_head : (head + 1) * d_head] = 0
        return (x, *args[1:])

    return theirs.get_submodule(f"transformer.h.{layer}.attn.c_proj").register_forward_pre_hook(cut)


def their_output_zero(theirs: nn.Module, part: str, span: slice) -> RemovableHandle:
    """Zero what a sub-layer adds, its output projection's bias included."""

    def cut(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        out = out.clone()
        out[:, span] = 0
        return out

    return theirs.get_submodule(f"transformer.{part}.c_proj").register_forward_hook(cut)


@pytest.mark.peers
@torch.no_grad()
@pytest.mark.parametrize(
    ("change", "cut"),
    [
        (Ablate(L1H2), lambda m: their_head_zero(m, 1, 2, TINY.d_head)),
        (Ablate(M1), lambda m: their_output_zero(m, "h.1.mlp", slice(None))),
        (Ablate(M1, Span(2, 5)), lambda m: their_output_zero(m, "h.1.mlp", slice(2, 6))),
        (Ablate(A1), lambda m: their_output_zero(m, "h.1.attn", slice(None))),
        (Ablate(A1, Span(3, 3)), lambda m: their_output_zero(m, "h.1.attn", slice(3, 4))),
    ],
    ids=str,
)
def test_zero_ablations_agree_with_hooks_on_transformers(
    tiny: GPT2, change: Change, cut: Callable[[nn.Module], RemovableHandle]
) -> None:
    tokens, theirs = prompt(TINY), twin(tiny)
    before = tiny(tokens)
    with cut(theirs):
        after = theirs(tokens).logits
    assert (after - before).abs().max() > 0.1
    close(tiny(tokens, as_hook([change])), after)


def test_every_site_agrees_with_the_naive_pass(tiny: GPT2, naive: Naive) -> None:
    seen: dict[tuple[Site, int], Tensor] = {}
    tiny(torch.tensor([TOKENS]), recorder(seen, frozenset(Site)))
    expected = naive.run(TOKENS)
    assert {(site.text, layer) for site, layer in seen} == expected.sites.keys()
    assert {site for site, _ in seen} == set(Site)
    for (site, layer), ours in seen.items():
        np.testing.assert_allclose(
            ours.numpy(), expected[site.text, layer], rtol=0, atol=1e-11, err_msg=str(site)
        )


def test_sites_have_the_axes_that_they_claim(tiny: GPT2) -> None:
    sizes = {
        "batch": 2, "pos": 5, "query": 5, "key": 5, "head": TINY.n_head, "d_model": TINY.d_model,
        "d_head": TINY.d_head, "d_mlp": TINY.d_mlp, "vocab": TINY.n_vocab, "1": 1,
    }  # fmt: skip

    def check(site: Site, layer: int, x: Tensor) -> Tensor:
        assert x.shape == tuple(sizes[axis] for axis in site.shape.strip("[]").split(", ")), site
        return x

    tiny(torch.tensor([TOKENS[:5], TOKENS[1:6]]), check)


def test_recording_changes_nothing(tiny: GPT2, tiny32: GPT2) -> None:
    for model in (tiny, tiny32):
        tokens = prompt(TINY)
        watched = model(tokens, compose(recorder({}, frozenset(Site)), as_hook(()), no_hook))
        assert torch.equal(watched, model(tokens, no_hook))


def test_an_edit_at_a_site_goes_on_from_there(tiny: GPT2) -> None:
    """Whatever a hook returns is used: every site but the scores' masked half reaches the logits."""
    tokens = torch.tensor([TOKENS])
    clean = tiny(tokens)
    for site in Site:
        edited = tiny(tokens, lambda at, layer, x, site=site: x * 1.5 + 0.1 if at is site else x)
        assert not torch.allclose(edited, clean), site


def test_K_tokens_do_not_see_later_ones(tiny: GPT2, tiny32: GPT2) -> None:
    """K, causality: with a later token changed, everything at earlier ones is the same to the bit."""
    for model in (tiny, tiny32):
        for changed in range(1, len(TOKENS)):
            tokens = [*TOKENS[:changed], 99, *TOKENS[changed + 1 :]]
            before, after = record(model, TOKENS), record(model, tokens)
            for site in (Site.RESID_POST, Site.Z, Site.PATTERN, Site.MLP_POST):
                x, y = before[site, 2], after[site, 2]
                axis = 0 if x.ndim == 2 else 1
                assert torch.equal(x.narrow(axis, 0, changed), y.narrow(axis, 0, changed))
            assert not torch.equal(before[Site.RESID_POST, 2][changed], after[Site.RESID_POST, 2][changed])


@torch.no_grad()
def test_L_rows_of_a_batch_are_runs_of_their_own(tiny: GPT2) -> None:
    tokens = prompt(TINY, batch=4)
    together = tiny(tokens)
    for row in range(len(tokens)):
        close(together[row : row + 1], tiny(tokens[row : row + 1]), 1e-9)


@torch.no_grad()
def test_L_padding_on_the_right_changes_nothing(tiny: GPT2) -> None:
    padded = torch.tensor([[*TOKENS, *[0] * 9]])
    close(tiny(padded)[:, : len(TOKENS)], tiny(torch.tensor([TOKENS])), 1e-9)


@torch.no_grad()
def test_L_in_float32_batch_and_padding_stay_within_rounding(tiny32: GPT2) -> None:
    """Two float32 computations of one number lie within twice its rounding bound (`tests/rounding.py`)."""
    bound = metric_bound(in_float64(tiny32), TOKENS, LD)
    alone = LD.of(tiny32(torch.tensor([TOKENS]))[0, LD.pos])
    padded = LD.of(tiny32(torch.tensor([[*TOKENS, 0, 0, 0]]))[0, LD.pos])
    batched = LD.of(tiny32(torch.tensor([TOKENS[::-1], TOKENS]))[1, LD.pos])
    assert abs(alone - padded) <= 2 * bound
    assert abs(alone - batched) <= 2 * bound


@pytest.mark.parametrize("metric", [LD, EARLY], ids=["last", "earlier"])
@pytest.mark.parametrize("name", ALONE)
def test_float32_stays_within_its_rounding_bound(tiny32: GPT2, name: str, metric: Metric) -> None:
    exact = in_float64(tiny32)
    changes = EDITS[name]
    ours = metric_value(tiny32, record(tiny32, TOKENS, changes), metric)
    truth = metric_value(exact, record(exact, TOKENS, changes), metric)
    assert abs(ours - truth) <= metric_bound(exact, TOKENS, metric, changes) < 0.1


def test_too_many_tokens_are_refused(tiny: GPT2) -> None:
    with pytest.raises(ValueError, match="33 tokens are too many: this model's context is 32"):
        tiny(torch.zeros(1, 33, dtype=torch.long))
    assert tiny(torch.zeros(1, 32, dtype=torch.long)).shape == (1, 32, TINY.n_vocab)


def test_heads_must_divide_the_model() -> None:
    with pytest.raises(ValueError, match="d_model 10 is not a multiple of n_head 3"):
        Config(n_layer=1, n_head=3, d_model=10, d_mlp=40, n_ctx=8, n_vocab=20)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_scales_and_softmax_in_float32(dtype: torch.dtype, tiny: GPT2) -> None:
    model = random_model(dtype=dtype)
    seen: dict[tuple[Site, int], Tensor] = {}
    logits = model(torch.tensor([TOKENS]), recorder(seen, frozenset(Site)))
    assert logits.dtype is dtype
    for (site, _), x in seen.items():
        assert x.dtype is (torch.float32 if site.text.endswith("scale") else dtype), site
    assert (logits.double() - tiny(torch.tensor([TOKENS]))).abs().mean() < 0.2
    for layer in range(TINY.n_layer):
        rows = seen[Site.PATTERN, layer].float().sum(-1)
        assert (rows - 1).abs().max() < 0.02


def test_unembedding_some_tokens_is_a_slice_of_all(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    normed = trace[Site.LN_FINAL, 0]
    some = torch.tensor([3, 50, 112])
    close(tiny.unembed(normed, some), tiny.unembed(normed)[..., some], 1e-12)
    close(tiny.unembed(normed)[None], tiny(torch.tensor([TOKENS])), 1e-12)


def test_layers_can_be_rerun_from_any(tiny: GPT2) -> None:
    seen: dict[tuple[Site, int], Tensor] = {}
    logits = tiny(torch.tensor([TOKENS]), recorder(seen, RECORDED))
    for layer in range(TINY.n_layer):
        resid = tiny.layers(seen[Site.RESID_PRE, layer][None], first=layer)
        assert torch.equal(tiny.unembed(tiny.final_norm(resid)), logits)


@pytest.mark.cuda
def test_a_gpu_computes_the_same(tiny: GPT2) -> None:
    tokens = prompt(TINY)
    there = random_model().to("cuda")
    close(there(tokens.to("cuda")).cpu(), tiny(tokens), 1e-10)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield
