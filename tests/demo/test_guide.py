"""Where the guide tells heads to look: by hand on one row of tokens."""

import torch

from model.demo.guide import GUIDED, Words, guide_loss, movers, rival_loss, targets

END, MARY, AND, JOHN, LEFT = 0, 1, 2, 3, 4
ROW = torch.tensor([[END, MARY, AND, JOHN, LEFT, JOHN, MARY, END, JOHN]])
KNOWN = Words(
    names=torch.tensor([False, True, False, True, False]),
    listed=torch.tensor([False, True, False, True, False]),
)


def keys(kind: str, query: int) -> list[int]:
    return targets(ROW, KNOWN, END)[kind][0, query].nonzero().flatten().tolist()


def test_the_guide_points_where_a_word_can_be_copied_from() -> None:
    assert keys("previous", 3) == [2]
    assert keys("duplicate", 5) == [3]  # John, again
    assert keys("induction", 5) == [4]  # what followed the first John
    assert keys("mover", 5) == [1]  # Mary comes next, and was here
    assert keys("repeated", 6) == [5]  # the second John; the second Mary is the query itself
    assert keys("mover", 2) == []  # John comes next and has not been here
    assert keys("duplicate", 2) == []  # "and" is not worth copying


def test_the_guide_never_points_ahead_or_into_another_document() -> None:
    found = targets(ROW, KNOWN, END)
    ahead = torch.ones(8, 8, dtype=torch.bool).triu(1)
    for kind in found:
        assert not (found[kind][0] & ahead).any()
        assert not found[kind][0, 7, :7].any()  # a new document begins at token 7
    assert keys("mover", 7) == []  # John comes next, but was in the document before


def test_looking_there_costs_nothing_and_looking_elsewhere_does() -> None:
    wanted = targets(ROW, KNOWN, END)
    even = torch.ones(1, 8, 8, 8).tril()
    even = even / even.sum(-1, keepdim=True)
    right = {layer: even.clone() for layer in range(6)}
    for kind, layer, heads in GUIDED:
        rows = wanted[kind][0].any(1)
        pattern = wanted[kind][0].float()
        for head in heads:
            right[layer][0, head, rows] = pattern[rows] / pattern[rows].sum(-1, keepdim=True)
    assert float(guide_loss(right, wanted)) < 0.01
    assert float(guide_loss({layer: even for layer in range(6)}, wanted)) > 0.5


def test_others_may_look_anywhere_but_where_the_mover_looks() -> None:
    wanted = targets(ROW, KNOWN, END)
    even = torch.ones(1, 8, 8, 8).tril()
    copying = (even / even.sum(-1, keepdim=True))[0, 0].clone()
    copying[wanted["mover"][0].any(1)] = wanted["mover"][0][wanted["mover"][0].any(1)].float()
    elsewhere = torch.eye(8).expand(1, 8, 8, 8).clone()  # each token looks at itself
    [mover] = movers(5)
    alone = elsewhere.clone()
    alone[0, mover] = copying
    rivalled = alone.clone()
    rivalled[0, mover + 1] = copying
    assert float(rival_loss({4: elsewhere, 5: alone}, wanted)) < 1e-3
    assert float(rival_loss({4: elsewhere, 5: rivalled}, wanted)) > 0.2
    assert float(rival_loss({3: rivalled}, wanted)) == 0  # lower layers are nobody's rivals
