"""Tables over a set: one example's is that example's own, sums balance in the mean, roles meet where they should."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from torch import Tensor

from model.components import Kind
from model.effects.attribution import Treatment, gradients, head_table, neuron_table, pair_table
from model.gpt2 import GPT2
from model.metrics import Metric, Quantity
from model.nodes import KINDS, NONE, NodeTable, joined
from model.sets.prompts import END, OTHER, Encoded, metric_of
from model.sets.statistics import summary
from model.sets.tables import (
    LIMIT,
    MEASURES,
    WHOLE,
    Others,
    SetTable,
    TableOf,
    laid_out,
    laid_over,
    summary_of_present,
    tables_over,
)
from model.sites import Site
from model.trace import metric_value, record
from tests.tiny import TINY

ABBA = Encoded((5, 17, 17, 80, 2, 111, 42), (41, 7), (98,), {"IO": 1, "S1": 3, "S2": 5, END: 6})
BABA = Encoded((6, 3, 33, 80, 3, 110, 4, 9, 42), (12,), (50, 51), {"S1": 1, "IO": 4, "S2": 7, END: 8})
BARE = Encoded((70, 60, 50), (9,), (), {END: 2})
"Shorter, with the last token alone to compare."
SET = (ABBA, BABA, BARE)


def table_of(
    model: GPT2,
    examples: Sequence[Encoded],
    metric_of: Callable[[Encoded], Metric] = metric_of,
    kinds: Sequence[TableOf] = WHOLE,
    others: Others = Others.POOL,
    treatment: Treatment = Treatment.TARGET,
    limit: int = LIMIT,
) -> SetTable:
    return drained(tables_over(model, examples, metric_of, kinds, others, treatment, limit=limit))[1]


def drained(over: Generator[int, None, SetTable]) -> tuple[list[int], SetTable]:
    """What was yielded, and what was returned."""
    done: list[int] = []
    while True:
        try:
            done.append(next(over))
        except StopIteration as stop:
            return done, stop.value


def own_table(model: GPT2, example: Encoded, kinds: Sequence[TableOf] = WHOLE) -> NodeTable:
    trace = record(model, example.tokens)
    by = gradients(model, trace, metric_of(example))
    return joined([table(model, trace, by) for table in kinds])


def by_role(table: NodeTable, example: Encoded) -> dict[tuple, np.ndarray]:
    """(kind, layer, index, role, key's role) -> its measures added up, by a loop."""
    role = {pos: name for name, pos in example.roles.items()}
    sums: dict[tuple, np.ndarray] = {}
    for row in range(len(table)):
        key = None if table.key[row] == NONE else role.get(int(table.key[row]), OTHER)
        at = (
            KINDS[table.kind[row]], int(table.layer[row]), int(table.index[row]),
            role.get(int(table.pos[row]), OTHER), key,
        )  # fmt: skip
        measures = np.array([getattr(table, measure)[row] for measure in MEASURES])
        sums[at] = sums.get(at, np.zeros(len(MEASURES))) + measures
    return sums


def rows_of(table: SetTable) -> dict[tuple, int]:
    nodes = table.nodes
    return {
        (
            KINDS[nodes.kind[row]], int(nodes.layer[row]), int(nodes.index[row]), table.roles[nodes.pos[row]],
            None if nodes.key[row] == NONE else table.roles[nodes.key[row]],
        ): row
        for row in range(len(table))
    }  # fmt: skip


def means(table: SetTable, row: int) -> np.ndarray:
    return np.array([getattr(table.nodes, measure)[row] for measure in MEASURES])


def test_a_set_of_one_example_is_that_examples_table_to_the_bit(tiny: GPT2) -> None:
    every = replace(ABBA, roles={f"t{pos}": pos for pos in range(len(ABBA.tokens))})
    for kinds in (WHOLE, (pair_table,), (neuron_table,)):
        own = by_role(own_table(tiny, every, kinds), every)
        table = table_of(tiny, [every], kinds=kinds)
        rows = rows_of(table)
        assert rows.keys() == own.keys()
        assert all(np.array_equal(means(table, row), own[at]) for at, row in rows.items())


def test_rows_are_sums_over_the_tokens_of_their_role(tiny: GPT2) -> None:
    for kinds in (WHOLE, (pair_table,)):
        table = table_of(tiny, [ABBA], kinds=kinds)
        rows, own = rows_of(table), by_role(own_table(tiny, ABBA, kinds), ABBA)
        assert rows.keys() == own.keys()
        for at, row in rows.items():
            assert means(table, row) == pytest.approx(own[at], rel=1e-12, abs=1e-14)


def test_a_row_is_the_mean_over_the_examples_that_have_it(tiny: GPT2) -> None:
    table = table_of(tiny, SET)
    own = [by_role(own_table(tiny, example), example) for example in SET]
    rows = rows_of(table)
    assert rows.keys() == own[0].keys() | own[1].keys() | own[2].keys()
    for at, row in rows.items():
        having = [sums[at] for sums in own if at in sums]
        assert table.n[row] == len(having)
        assert means(table, row) == pytest.approx(np.mean(having, axis=0), rel=1e-12, abs=1e-14)
    assert set(table.n) == {2, 3}


def test_summaries_are_over_the_examples_that_have_the_row(tiny: GPT2) -> None:
    table = table_of(tiny, SET)
    for measure in MEASURES:
        found = table.summary(measure, seed=3)
        assert found.mean == pytest.approx(getattr(table.nodes, measure), rel=1e-12, abs=1e-14)
        assert np.array_equal(found.n, table.n)
        for row in (0, 7, len(table) - 1):
            column = table.values[measure][:, row]
            alone = summary(column[~np.isnan(column)], seed=3)
            one = table.summary(measure, [row], seed=3)
            for name in ("mean", "sd", "low", "high", "sign"):
                assert getattr(one, name)[0] == pytest.approx(
                    float(getattr(alone, name)), rel=1e-12, abs=1e-14
                )
                assert getattr(found, name)[row] == pytest.approx(getattr(one, name)[0], rel=1e-12, abs=1e-14)


def test_the_mean_of_balances_is_the_balance_of_the_mean(tiny: GPT2) -> None:
    for examples in ([ABBA], SET):
        table = table_of(tiny, examples)
        total = (table.nodes.direct * table.n).sum() / len(examples)
        assert total == pytest.approx(table.metric.mean(), rel=1e-10)
        assert np.nansum(table.values["direct"], axis=1) == pytest.approx(table.metric, rel=1e-10)


def test_each_metric_is_that_of_the_example(tiny: GPT2) -> None:
    table = table_of(tiny, SET)
    alone = [metric_value(tiny, record(tiny, each.tokens), metric_of(each)) for each in SET]
    assert table.metric.tolist() == alone


def test_duplicates_change_nothing_but_n(tiny: GPT2) -> None:
    once, often = table_of(tiny, SET), table_of(tiny, [*SET, *SET, *SET])
    assert rows_of(once) == rows_of(often)
    assert np.array_equal(often.n, 3 * once.n)
    for measure in MEASURES:
        assert getattr(often.nodes, measure) == pytest.approx(
            getattr(once.nodes, measure), rel=1e-12, abs=1e-14
        )
        one, many = once.summary(measure), often.summary(measure)
        assert many.sd == pytest.approx(one.sd, rel=1e-9, abs=1e-12)
        clear = np.abs(one.mean) > 1e-12
        assert many.sign[clear] == pytest.approx(one.sign[clear])
    alone = table_of(tiny, [ABBA] * 4).summary("direct")
    assert alone.low == pytest.approx(alone.mean, rel=1e-12, abs=1e-14)
    assert alone.high == pytest.approx(alone.mean, rel=1e-12, abs=1e-14)


def test_the_order_of_examples_moves_values_and_no_mean(tiny: GPT2) -> None:
    there, back = table_of(tiny, SET), table_of(tiny, SET[::-1])
    mine, other = rows_of(there), rows_of(back)
    assert mine.keys() == other.keys()
    for at, row in mine.items():
        assert means(back, other[at]) == pytest.approx(means(there, row), rel=1e-12, abs=1e-14)
    assert back.metric.tolist() == there.metric[::-1].tolist()


def test_dropping_others_leaves_the_rows_of_roles_as_they_were(tiny: GPT2) -> None:
    for kinds in (WHOLE, (pair_table,)):
        pooled, dropped = (table_of(tiny, SET, kinds=kinds, others=others) for others in Others)
        kept = {at: row for at, row in rows_of(pooled).items() if OTHER not in at[3:]}
        assert rows_of(dropped).keys() == kept.keys()
        assert OTHER not in dropped.roles
        for at, row in rows_of(dropped).items():
            assert np.array_equal(means(dropped, row), means(pooled, kept[at]))


def test_pairs_are_aligned_by_both_ends_and_named_by_them(tiny: GPT2) -> None:
    table = table_of(tiny, (ABBA, BABA), kinds=(pair_table,), others=Others.DROP)
    names = {table.name(row): row for row in range(len(table))}
    assert table.n[names["L1H2@END<IO"]] == 2
    assert table.n[names["L1H2@S1<IO"]] == 1  # in ABBA alone the receiver is named first
    assert table.n[names["L1H2@IO<S1"]] == 1
    pattern = [record(tiny, each.tokens)[Site.PATTERN, 1][2] for each in (ABBA, BABA)]
    mean = (float(pattern[0][6, 1]) + float(pattern[1][8, 4])) / 2
    assert table.nodes.act[names["L1H2@END<IO"]] == pytest.approx(mean)
    assert table_of(tiny, SET).name(0) == "E@IO"


def test_the_kinds_the_metric_and_the_treatment_are_the_callers(tiny: GPT2) -> None:
    def prob(example: Encoded) -> Metric:
        return replace(metric_of(example), quantity=Quantity.PROB)

    table = table_of(tiny, SET, metric_of=prob, kinds=(head_table,), treatment=Treatment.ALL)
    assert set(table.nodes.kind) == {KINDS.index(Kind.HEAD)}
    assert len(table) == TINY.n_layer * TINY.n_head * 5
    assert np.all((table.metric > 0) & (table.metric < 1))
    trace = record(tiny, BARE.tokens)
    own = head_table(tiny, trace, gradients(tiny, trace, prob(BARE), treatment=Treatment.ALL)).at([2])
    end = table.roles.index(END)
    assert np.array_equal(table.values["total"][2][table.nodes.pos == end], own.total)


def test_progress_is_told_after_each_example_and_it_stops_at_once(tiny: GPT2) -> None:
    assert drained(tables_over(tiny, SET))[0] == [1, 2, 3]
    seen: list[Site] = []

    def stop(site: Site, layer: int, x: Tensor) -> Tensor:
        seen.append(site)
        if len(seen) == 100:
            raise KeyboardInterrupt
        return x

    over = tables_over(tiny, SET * 50, also=stop)
    with pytest.raises(KeyboardInterrupt):
        drained(over)
    assert len(seen) == 100
    watched: list[Site] = []
    drained(tables_over(tiny, [BARE], also=lambda site, _, x: (watched.append(site), x)[1]))
    assert Site.LN_FINAL in watched  # of the recorded run
    assert watched.count(Site.Z) == 2 * TINY.n_layer  # and of its lines, differentiated one by one
    paused = tables_over(tiny, SET)
    assert next(paused) == 1
    paused.close()  # between examples it is let go


def test_a_set_that_cannot_be_run_is_refused_before_or_after_its_first_example(tiny: GPT2) -> None:
    with pytest.raises(ValueError, match="the set is empty"):
        table_of(tiny, [])
    long = replace(BARE, tokens=(1,) * 33, roles={END: 32})
    with pytest.raises(ValueError, match="example 2 has 33 tokens: the model reads at most 32"):
        table_of(tiny, [BARE, long])
    with pytest.raises(ValueError, match=r"would keep \d+ MB: 0 MB hold fewer"):
        table_of(tiny, [BARE] * 1000, limit=500_000)
    assert len(table_of(tiny, [BARE] * 2, limit=500_000).metric) == 2


def test_a_summary_of_no_rows_is_empty(tiny: GPT2) -> None:
    assert table_of(tiny, [ABBA]).summary("direct", []).mean.shape == (0,)


def test_tables_made_elsewhere_are_laid_over_each_other_in_the_same_way(tiny: GPT2) -> None:
    made = [
        (own_table(tiny, each), metric_value(tiny, record(tiny, each.tokens), metric_of(each)))
        for each in SET
    ]
    done, table = drained(laid_over(tiny.config, SET, iter(made)))
    expected = table_of(tiny, SET)
    assert done == [1, 2, 3] and table.roles == expected.roles
    assert np.array_equal(table.metric, expected.metric)
    for measure in MEASURES:
        assert np.array_equal(table.values[measure], expected.values[measure], equal_nan=True)
    with pytest.raises(ValueError, match="is empty"):
        drained(laid_over(tiny.config, [], iter([])))
    with pytest.raises(ValueError):
        drained(laid_over(tiny.config, SET, iter(made[:2])))


def test_named_numbers_are_laid_out_in_order_of_first_appearance_and_absent_ones_are_no_numbers() -> None:
    names, values = laid_out([{"b": 1.0, "a": 2.0}, {}, {"c": 3.0, "a": 4.0}])
    assert names == ("b", "a", "c")
    nan = np.nan
    assert np.array_equal(values, [[1, 2, nan], [nan, nan, nan], [nan, 4, 3]], equal_nan=True)
    assert laid_out([{}, {}])[1].shape == (2, 0)


def test_a_row_that_no_example_has_counts_none_and_changes_no_other() -> None:
    values = np.array([[1.0, np.nan, -2.0], [3.0, np.nan, np.nan]])
    found, alone = summary_of_present(values), summary(values[:, 0])
    assert found.n.tolist() == [2, 0, 1] and found.mean.tolist() == [2.0, 0.0, -2.0]
    assert (found.low[0], found.high[0], found.sd[0]) == (alone.low, alone.high, alone.sd)
    assert (found.low[2], found.high[2]) == (-2.0, -2.0)
