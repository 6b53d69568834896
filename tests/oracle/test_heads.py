"""What heads do by their weights and by their attention, against TransformerLens."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model.about.heads import composition, copy_scores, ov, qk
from model.about.roles import Role, on_prompt
from model.components import Component, Kind
from tests.oracle.bridge import FOLDED, ODD, Both, close, ids, peer

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore"),  # the peer's own, and those of what it imports
]

HEADS = [Component(Kind.HEAD, layer, head) for layer, head in np.ndindex(ODD.n_layer, ODD.n_head)]


@pytest.mark.parametrize("mode", ["Q", "K", "V"])
def test_composition_scores_are_all_composition_scores(both: Both, mode: str) -> None:
    """Conventions: folded, so that ln_1's weight and centring are in what reads and what writes is centred."""
    theirs = both.folded.all_composition_scores(mode).scores  # [layer, head, layer, head]
    for head in HEADS[ODD.n_head :]:  # before those of the first layer there are none
        found = composition(both.model, head)
        ours = {"Q": found.query, "K": found.key, "V": found.value}[mode]
        close(torch.from_numpy(ours), theirs[: head.layer, :, head.layer, head.index], 1e-5)
    assert theirs.count_nonzero() == 3 * ODD.n_head**2


def circuit(both: Both, head: Component, which: str) -> Any:
    """W_E W_V W_O W_U or W_E W_Q (W_E W_K)^T of the folded bridge, as its FactoredMatrix."""
    bridge, layer, index = both.folded, head.layer, head.index
    embedding = bridge.W_E.double()
    if which == "ov":
        left, right = embedding @ bridge.W_V[layer, index].double(), bridge.W_O[layer, index] @ bridge.W_U
    else:
        left, right = (embedding @ w[layer, index].double() for w in (bridge.W_Q, bridge.W_K))
        right = (right - right.mean(0)).T / ODD.d_head**0.5
    return peer("FactoredMatrix").FactoredMatrix(left, right.double())


@pytest.mark.parametrize("which", ["ov", "qk"])
@pytest.mark.parametrize("head", HEADS, ids=str)
def test_circuits_have_the_singular_values_and_eigenvalues_of_the_factored_matrix(
    both: Both, head: Component, which: str
) -> None:
    """Conventions: folded; what no softmax sees is taken out, W_U's mean by `center_unembed`, the keys' by hand."""
    theirs = circuit(both, head, which)
    view = {"ov": ov, "qk": qk}[which](both.model, head)
    count = min(ODD.d_head, len(view.values))
    close(torch.from_numpy(view.values[:count]), theirs.S[:count], FOLDED)
    eigenvalues: Tensor = theirs.eigenvalues
    score = float(eigenvalues.sum().real / eigenvalues.abs().sum())
    assert view.score == pytest.approx(score, abs=1e-4)
    if which == "ov":
        assert copy_scores(both.model)[head.layer, head.index] == pytest.approx(score, abs=1e-4)


DETECTED = {
    Role.PREVIOUS: "get_previous_token_head_detection_pattern",
    Role.DUPLICATE: "get_duplicate_token_head_detection_pattern",
    Role.INDUCTION: "get_induction_head_detection_pattern",
}


@pytest.mark.parametrize("role", DETECTED, ids=lambda role: role.value)
def test_roles_by_attention_are_those_of_the_head_detector(both: Both, role: Role) -> None:
    """Conventions: its score is the share of all attention but what the first and the current token get; ours is
    attention averaged over the queries that have such a key, the first token and the query itself being none.
    """
    detector = peer("head_detector")
    wanted: Tensor = getattr(detector, DETECTED[role])(ids(both.clean)).double()
    free = torch.ones_like(wanted).tril(-1)
    free[:, 0] = 0
    queries = int((wanted * free).any(1).sum())
    ours = on_prompt(both.model, both.trace).scores[role]
    assert ours.count == queries > 0
    for head in HEADS:
        pattern = both.cache["pattern", head.layer][0, head.index]
        share = detector.compute_head_attention_similarity_score(
            pattern, wanted, exclude_bos=True, exclude_current_token=True, error_measure="mul"
        )
        mean = share * float((pattern * free).sum()) / queries
        assert ours.score[head.layer, head.index] == pytest.approx(mean, abs=1e-9)
