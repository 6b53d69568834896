"""Views of a head's weights against the dense matrices that they stand for, and on heads made by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from model.about.heads import View, composition, copied, copy_scores, eigenvalue_score, ov, qk
from model.about.reads import Ends
from model.components import Component, Kind
from model.gpt2 import GPT2, Config, LayerNorm
from tests.tiny import TINY, random_model

HEADS = [Component(Kind.HEAD, layer, index) for layer, index in ((0, 1), (1, 2), (2, 0))]
D_HEAD, D_MODEL = TINY.d_head, TINY.d_model
EXCLUDED = np.isin(np.arange(TINY.n_vocab), [0, 7, 50, 112])
CENTRE = torch.eye(D_MODEL, dtype=torch.float64) - 1 / D_MODEL
"A layer norm's centring, as a matrix."


def weights(model: GPT2, head: Component) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """W_Q, W_K, W_V [d_model, d_head], W_O [d_head, d_model], straight from the checkpoint's matrices."""
    block, index = model.blocks[head.layer], head.index or 0
    q, k, v = block.attn.c_attn.weight.split(D_MODEL, 1)
    columns = slice(index * D_HEAD, (index + 1) * D_HEAD)
    return q[:, columns], k[:, columns], v[:, columns], block.attn.c_proj.weight[columns]


def reader(model: GPT2, head: Component) -> Tensor:
    return CENTRE @ torch.diag(model.blocks[head.layer].ln_1.weight)


def dense_ov(model: GPT2, head: Component) -> Tensor:
    _, _, w_v, w_o = weights(model, head)
    out = w_o @ CENTRE @ torch.diag(model.ln_f.weight) @ model.unembedding.T
    return model.wte.weight @ reader(model, head) @ w_v @ out  # [attended, logit]


def dense_qk(model: GPT2, head: Component) -> Tensor:
    w_q, w_k, _, _ = weights(model, head)
    seen = model.wte.weight @ reader(model, head)
    return seen @ w_q @ (seen @ w_k).T / math.sqrt(D_HEAD)  # [query, key]


@pytest.mark.parametrize("exclude", [None, EXCLUDED], ids=["all", "some excluded"])
@pytest.mark.parametrize("head", HEADS, ids=str)
@pytest.mark.parametrize(("dense", "view"), [(dense_ov, ov), (dense_qk, qk)])
def test_a_view_has_the_eigenvalues_and_singular_pairs_of_the_dense_matrix(
    tiny: GPT2,
    dense: Callable[[GPT2, Component], Tensor],
    view: Callable[..., View],
    head: Component,
    exclude: np.ndarray | None,
) -> None:
    kept = np.arange(TINY.n_vocab) if exclude is None else np.flatnonzero(~exclude)
    matrix = dense(tiny, head)[kept][:, kept]
    matrix = matrix - matrix.mean(1, keepdim=True)
    found = view(tiny, head, pairs=3, count=len(kept), exclude=exclude)

    eigenvalues = torch.linalg.eigvals(matrix)
    expected = float(eigenvalues.sum().real / eigenvalues.abs().sum())
    assert found.score == pytest.approx(expected, abs=1e-6)

    u, values, v = torch.linalg.svd(matrix)
    np.testing.assert_allclose(found.values, values[:D_HEAD], rtol=1e-9)
    assert len(found.pairs) == 3
    for n, pair in enumerate(found.pairs):
        read, write = in_order(pair.read, kept), in_order(pair.write, kept)
        sign = np.sign(read[np.abs(read).argmax()] * u[:, n][np.abs(read).argmax()].item())
        np.testing.assert_allclose(read, sign * u[:, n], atol=1e-9)
        np.testing.assert_allclose(write, sign * v[n], atol=1e-9)
        assert read[np.abs(read).argmax()] > 0
        assert pair.value == pytest.approx(read @ matrix.numpy() @ write)


def in_order(ends: Ends, kept: np.ndarray) -> np.ndarray:
    """The scores by token, of a list that names every token that is kept."""
    assert sorted(id for id, _ in ends.top) == kept.tolist()
    assert list(ends.top) == sorted(ends.bottom, key=lambda each: -each[1])
    return np.array([score for _, score in sorted(ends.top)])


@pytest.mark.parametrize("exclude", [None, EXCLUDED], ids=["all", "some excluded"])
def test_all_copy_scores_are_each_heads_own(tiny: GPT2, exclude: np.ndarray | None) -> None:
    scores = copy_scores(tiny, exclude)
    for layer, index in np.ndindex(scores.shape):
        head = Component(Kind.HEAD, layer, index)
        assert scores[layer, index] == pytest.approx(ov(tiny, head, exclude=exclude).score, abs=1e-9)
    assert scores.shape == (TINY.n_layer, TINY.n_head) and np.ptp(scores) > 0.1


def with_output(model: GPT2, head: Component, w_v: Tensor, w_o: Tensor) -> None:
    """Give a head these matrices, [d_model, d_head] and [d_head, d_model]."""
    index, block = head.index or 0, model.blocks[head.layer]
    columns = slice(index * D_HEAD, (index + 1) * D_HEAD)
    block.attn.c_attn.weight[:, 2 * D_MODEL :][:, columns] = w_v
    block.attn.c_attn.bias[2 * D_MODEL :][columns] = 0
    block.attn.c_proj.weight[columns] = w_o


@pytest.fixture
def copier() -> GPT2:
    """L1H2's values go out as they came in, L1H1's negated; norms have weight 1, and what is read is the embedding."""
    model = random_model()
    for norm in (model.ln_f, *(norm for block in model.blocks for norm in (block.ln_1, block.ln_2))):
        norm.weight.fill_(1)
        norm.bias.fill_(0)
    model.blocks[0].mlp.c_proj.weight.fill_(0)
    model.blocks[0].mlp.c_proj.bias.fill_(0)
    basis = torch.linalg.qr(
        torch.randn(D_MODEL, D_HEAD, generator=torch.Generator().manual_seed(2)).double()
    ).Q
    with_output(model, HEADS[1], basis, basis.T)
    with_output(model, Component(Kind.HEAD, 1, 1), basis, -basis.T)
    # embeddings in the head's span, of one length: each token is then likest to itself
    rows = torch.randn(TINY.n_vocab, D_HEAD, generator=torch.Generator().manual_seed(3)).double() @ basis.T
    rows = rows @ CENTRE
    model.wte.weight.copy_(rows / rows.norm(dim=1, keepdim=True))
    return model


def test_a_head_made_to_copy_scores_one_and_its_negative_minus_one(copier: GPT2) -> None:
    positive, negative = HEADS[1], Component(Kind.HEAD, 1, 1)
    assert ov(copier, positive).score == pytest.approx(1, abs=1e-6)
    assert ov(copier, negative).score == pytest.approx(-1, abs=1e-6)
    tokens = range(TINY.n_vocab)
    both = [copied(copier, head, tokens) for head in (positive, negative)]
    assert [each.positive for each in both] == pytest.approx([1, 0], abs=0.02)
    assert [each.negative for each in both] == pytest.approx([0, 1], abs=0.02)
    assert max(copied(copier, HEADS[2], tokens).positive, copied(copier, HEADS[2], tokens).negative) < 0.3


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_the_copy_score_of_the_ioi_paper_is_a_loop_over_tokens(tiny: GPT2, head: Component) -> None:
    tokens, hits = range(0, TINY.n_vocab, 2), {1: [], -1: []}
    block = tiny.blocks[head.layer]
    _, _, w_v, w_o = weights(tiny, head)
    b_v = block.attn.c_attn.bias[2 * D_MODEL :][(head.index or 0) * D_HEAD :][:D_HEAD]
    for token in tokens:
        x = tiny.wte.weight[token]
        if head.layer:
            first = tiny.blocks[0]
            x = x + first.mlp(norm(x, first.ln_2)[None], 0, lambda site, layer, y: y)[0]
        for sign, found in hits.items():
            logits = tiny.unembedding @ norm(sign * ((norm(x, block.ln_1) @ w_v + b_v) @ w_o), tiny.ln_f)
            found.append(token in logits.topk(20).indices)
    score = copied(tiny, head, tokens, top=20)
    assert (score.positive, score.negative) == (np.mean(hits[1]), np.mean(hits[-1]))
    assert 0 < score.positive < 1


def norm(x: Tensor, layer_norm: LayerNorm) -> Tensor:
    return torch.nn.functional.layer_norm(x, x.shape, layer_norm.weight, layer_norm.bias, 1e-5)


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_composition_is_the_norm_of_the_product_over_the_product_of_norms(
    tiny: GPT2, head: Component
) -> None:
    found = composition(tiny, head)
    w_q, w_k, w_v, w_o = weights(tiny, head)
    into = reader(tiny, head)
    match, move = into @ w_q @ (into @ w_k).T, into @ w_v @ w_o @ CENTRE  # [d_model, d_model]
    assert found.query.shape == found.key.shape == found.value.shape == (head.layer, TINY.n_head)
    for layer, index in np.ndindex(head.layer, TINY.n_head):
        earlier = Component(Kind.HEAD, layer, index)
        _, _, v, o = weights(tiny, earlier)
        moved = reader(tiny, earlier) @ v @ o @ CENTRE
        for array, product, other in (
            (found.query, moved @ match, match),
            (found.key, match @ moved.T, match),
            (found.value, moved @ move, move),
        ):
            expected = product.norm() / (moved.norm() * other.norm())
            assert array[layer, index] == pytest.approx(float(expected), rel=1e-9)


def test_chance_is_the_composition_with_an_output_turned_at_random(tiny: GPT2) -> None:
    head, earlier = HEADS[2], HEADS[1]
    _, _, w_v, w_o = weights(tiny, earlier)
    out = w_o @ CENTRE
    basis = torch.linalg.svd(CENTRE).U[:, : D_MODEL - 1]
    generator, squares = torch.Generator().manual_seed(4), []
    model, chance = random_model(), composition(tiny, head).chance
    for _ in range(200):
        turn = torch.linalg.qr(torch.randn(D_MODEL - 1, D_MODEL - 1, generator=generator).double()).Q
        with_output(model, earlier, w_v, out @ basis @ turn @ basis.T)
        found = composition(model, head)
        squares.append([part[1, 2] ** 2 for part in (found.query, found.key, found.value)])
    assert np.sqrt(np.mean(squares, 0)) == pytest.approx([chance] * 3, rel=0.03)


def test_a_head_that_reads_only_what_another_writes_composes_with_it_alone(tiny: GPT2) -> None:
    model, reading = random_model(), Component(Kind.HEAD, 2, 3)
    heads = [Component(Kind.HEAD, 1, index) for index in range(TINY.n_head)]
    spans = torch.linalg.qr(
        torch.randn(D_MODEL, D_MODEL - 1, generator=torch.Generator().manual_seed(5)).double()
    ).Q
    spans = torch.linalg.qr(CENTRE @ spans).Q[:, :47]
    model.blocks[2].ln_1.weight.fill_(1)
    for n, head in enumerate(heads):
        with_output(model, head, weights(model, head)[2], torch.zeros(D_HEAD, D_MODEL).double())
        model.blocks[1].attn.c_proj.weight[n * D_HEAD :][:4] = spans[:, 4 * n : 4 * n + 4].T
    with_output(model, reading, torch.zeros(D_MODEL, D_HEAD).double(), weights(model, reading)[3])
    model.blocks[2].attn.c_attn.weight[:, 2 * D_MODEL :][:, 3 * D_HEAD :][:, :4] = spans[:, 4:8]
    found = composition(model, reading).value[1]
    assert found[1] > 0.3
    assert found[[0, 2, 3]] == pytest.approx([0, 0, 0], abs=1e-9)


def test_a_head_of_zeros_has_scores_of_zero(tiny: GPT2) -> None:
    model = random_model()
    with_output(model, HEADS[0], torch.zeros(D_MODEL, D_HEAD).double(), torch.zeros(D_HEAD, D_MODEL).double())
    assert ov(model, HEADS[0]).score == copy_scores(model)[0, 1] == 0
    assert composition(model, HEADS[1]).query[0, 1] == 0
    model.ln_f.bias.fill_(0)  # all logits tie
    assert copied(model, HEADS[0], range(TINY.n_vocab)).positive == 0
    assert eigenvalue_score(np.zeros(3, dtype=complex)) == 0


def test_half_precision_weights_are_read_in_float32() -> None:
    model = random_model(Config(2, 2, 16, 64, 8, 40), dtype=torch.float16)
    head = Component(Kind.HEAD, 1, 1)
    assert math.isfinite(ov(model, head).score) and math.isfinite(qk(model, head).score)
    assert 0 <= copied(model, head, range(40)).positive <= 1
    assert np.isfinite(composition(model, head).value).all() and np.isfinite(copy_scores(model)).all()


@pytest.mark.parametrize(
    "wrong", [Component(Kind.MLP, 1), Component(Kind.HEAD, 3, 0), Component(Kind.HEAD, 0, 4)]
)
def test_what_is_no_head_of_the_model_is_refused(tiny: GPT2, wrong: Component) -> None:
    for ask in (ov, qk, composition, lambda model, head: copied(model, head, [1])):
        with pytest.raises(ValueError, match="head"):
            ask(tiny, wrong)


def test_a_copy_score_of_no_tokens_and_a_circuit_without_any_are_refused(tiny: GPT2) -> None:
    with pytest.raises(ValueError, match="tokens"):
        copied(tiny, HEADS[0], [])
    with pytest.raises(ValueError, match="excluded"):
        ov(tiny, HEADS[0], exclude=np.ones(TINY.n_vocab, dtype=bool))
