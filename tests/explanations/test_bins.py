"""The histogram's bins against numpy's own search."""

import numpy as np
import torch

from explanations.bins import COUNT, EDGES, LEAST, MOST, bin_of


def test_every_value_is_in_the_bin_whose_edges_are_around_it() -> None:
    scales = torch.logspace(-6, 6, 4001, dtype=torch.float64)
    values = torch.cat([scales, -scales, torch.tensor([0.0, -0.0])]).float()
    found, x = bin_of(values).numpy(), values.double().numpy()
    assert ((EDGES[found] <= x) & (x <= EDGES[found + 1])).all()
    assert found.min() == 0
    assert found.max() == COUNT - 1
    assert len(EDGES) == COUNT + 1
    assert (np.diff(EDGES) > 0).all()


def test_a_bound_is_in_the_bin_away_from_zero_and_small_values_are_zero() -> None:
    bounds = torch.tensor([2.0**LEAST, 1.0, 1.25, 2.0**MOST])
    assert EDGES[bin_of(bounds)].tolist() == [2.0**LEAST, 1.0, 1.25, 1.75 * 2.0 ** (MOST - 1)]
    assert bin_of(-bounds).tolist() == (COUNT - 1 - bin_of(bounds)).tolist()
    assert bin_of(torch.tensor([2.0**LEAST * 0.999, 0.0, -(2.0**LEAST) * 0.999])).tolist() == [COUNT // 2] * 3
