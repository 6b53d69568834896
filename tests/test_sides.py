"""Two sides: against the baseline, prompt B and a kept run.  The same is zero, differences add up, nodes find each other."""

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.nodes import NodeTable
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tdb_tui.tables.sides import Comparison, Place, Side, compared, partners
from tests.sessions import END, PROMPT, PROMPT_B, begin, do, fail, load, said, write_model

MEASURES = ("act", "write_norm", "direct", "total", "measured")
LONGER = " then Mary and John went to the store, Mary gave Anna a drink"
SHORTER = " John gave Mary a drink to"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), "float64")


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return begin(engine)


def rows_by(result: dict[str, Any], side: str) -> dict[str, dict[str, Any]]:
    return {row[side]: row for row in result["rows"] if row[side] is not None}


# What is the same has no difference, to the last bit.


@pytest.mark.parametrize("kinds", ["components", "all", "pairs @END", "neurons @3", "attns"])
@pytest.mark.parametrize("against", ["base", "B", "it.run"])
def test_a_run_does_not_differ_from_itself(session: Session, kinds: str, against: str) -> None:
    do(session, f'prompt B "{PROMPT}"', "rank heads @END", "keep it.run")
    for frame in ("w", "trace L2H1@END<Mary via qk", "trace M1@END"):
        do(session, frame, "keep it.run")
        answer = do(session, f"compare {kinds} against {against} -n 0")
        assert answer.result["rows"] and answer.warnings == ()
        assert answer.result["counts"] == {
            "both": len(answer.result["rows"]),
            "only_left": 0,
            "only_right": 0,
        }
        for row in answer.result["rows"]:
            assert row["left"] == row["right"] == row["node"]
            assert all(row[f"{measure}_difference"] in (0.0, None) for measure in MEASURES)
        assert answer.result["target"]["difference"] == 0


def test_edits_made_on_both_prompts_do_not_differ(session: Session) -> None:
    do(session, f'prompt B "{PROMPT}"', "ablate L1H2@3", "ablate M0@END")
    same = do(session, "compare all against B --edits -n 0").result
    assert all(row["total_difference"] == 0 for row in same["rows"])
    without = do(session, "compare all against B -n 0")
    base = do(session, "compare all against base -n 0")
    assert without.result["rows"] == base.result["rows"]
    assert without.warnings == ("B is without the edits: --edits makes them there too",)


# Differences add up.


def same_numbers(session: Session, line: str) -> dict[str, Any]:
    """A comparison whose direct effects must add up to both targets."""
    result = do(session, line).result
    for side in ("left", "right", "difference"):
        assert result["sums"]["direct"][side] == pytest.approx(result["target"][side], abs=1e-9), side
    for measure in ("direct", "total"):
        change = sum(row[f"{measure}_difference"] for row in result["rows"])
        assert change == pytest.approx(result["sums"][measure]["difference"], abs=1e-9)
    for row in result["rows"]:
        for measure in MEASURES:
            left, right = row[f"{measure}_left"] or 0.0, row[f"{measure}_right"] or 0.0
            if row[f"{measure}_difference"] is not None:
                assert row[f"{measure}_difference"] == left - right
    return result


@pytest.mark.parametrize("other", [PROMPT_B, LONGER, SHORTER])
@pytest.mark.parametrize("edit", ["w", "ablate L1H2", "ablate A1@2:5 scale 2", "ablate L0H1@END scale -1"])
def test_direct_effects_of_both_prompts_differ_by_what_the_metrics_do(
    session: Session, other: str, edit: str
) -> None:
    do(session, f'prompt B "{other}"', edit)
    result = same_numbers(session, "compare all against B by direct -n 0")
    assert result["target"]["left"] == pytest.approx(session.snapshot.now.value, abs=1e-9)
    assert result["target"]["right"] == pytest.approx(session.snapshot.other.value, abs=1e-9)  # pyright: ignore[reportOptionalMemberAccess]
    assert result["joined_by"] == ("address" if other == PROMPT_B else "role")


@pytest.mark.parametrize(
    "edit", ["ablate L1H2", "ablate A1@2:5 scale 2", "patch M0 from B", "ablate L1H1@END<Mary"]
)
@pytest.mark.parametrize("kinds", ["all", "embeds neurons pairs biases @END", "embeds attns mlps biases"])
def test_direct_effects_differ_from_the_baseline_by_what_the_edit_did(
    session: Session, edit: str, kinds: str
) -> None:
    change = do(session, edit).result["delta"]
    result = same_numbers(session, f"compare {kinds} by direct -n 0")
    assert result["target"]["difference"] == pytest.approx(change, abs=1e-9)


@pytest.mark.parametrize(
    "frame", ["L2H1@END<Mary via q", "L2H1@END<Mary via k", "L3H0@END via v", "N2.5@END", "M2@END"]
)
@pytest.mark.parametrize("other", [PROMPT_B, SHORTER])
def test_a_frame_is_asked_of_both_sides(session: Session, engine: Engine, frame: str, other: str) -> None:
    do(session, f'prompt B "{other}"', f"trace {frame}")
    result = same_numbers(session, "compare all against B by direct -n 0")
    alone = begin(engine, other)
    there = frame.replace("<Mary", "<1") if other == PROMPT_B else frame
    assert result["target"]["right"] == pytest.approx(do(alone, f"trace {there}").result["value"], abs=1e-9)


# Each side says what a session of its own says.


@pytest.mark.parametrize("other", [PROMPT_B, LONGER, SHORTER])
@pytest.mark.parametrize("kinds", ["all", "pairs @END", "neurons @END"])
def test_both_sides_hold_the_rows_of_a_ranking(
    session: Session, engine: Engine, other: str, kinds: str
) -> None:
    do(session, f'prompt B "{other}"')
    alone = begin(engine, other)
    result = do(session, f"compare {kinds} against B -n 0").result
    for one, side in ((session, "left"), (alone, "right")):
        found = rows_by(result, side)
        rows = do(one, f"rank {kinds} -n 0").result["rows"]
        assert len(found) == len(rows)
        for row in rows:
            for measure in MEASURES[:4]:
                assert found[row["node"]][f"{measure}_{side}"] == pytest.approx(row[measure], abs=1e-12)


def test_prompts_the_other_way_round_have_the_opposite_differences(engine: Engine) -> None:
    one, other = begin(engine, PROMPT, LONGER), begin(engine, LONGER, PROMPT)
    here, there = (do(each, "compare all against B -n 0").result for each in (one, other))
    opposite = {(row["right"], row["left"]): row for row in there["rows"]}
    assert len(here["rows"]) == len(opposite)
    for row in here["rows"]:
        twin = opposite[row["left"], row["right"]]
        for measure in MEASURES[:4]:
            assert row[f"{measure}_difference"] == pytest.approx(-twin[f"{measure}_difference"], abs=1e-12)
    counts = there["counts"]
    assert here["counts"] == {**counts, "only_left": counts["only_right"], "only_right": counts["only_left"]}


# Order, pages and what is measured.


@pytest.mark.parametrize("by", ["total", "direct", "norm", "act", "measured"])
def test_the_largest_difference_comes_first(session: Session, by: str) -> None:
    do(session, "ablate L1H2")
    column = {"norm": "write_norm"}.get(by, by)
    rows = do(session, f"compare heads by {by} @END -n 0").result["rows"]
    changes = [row[f"{column}_difference"] for row in rows]
    assert len(rows) == 16 and changes == sorted(changes, key=abs, reverse=True)
    for sign, keep in (("+", lambda x: x > 0), ("-", lambda x: x < 0)):
        kept = do(session, f"compare heads by {by} @END {sign} -n 0").result["rows"]
        assert [row["node"] for row in kept] == [
            row["node"] for row in rows if keep(row[f"{column}_difference"])
        ]


def test_measured_differences_are_those_of_ablating_one_by_one(session: Session) -> None:
    do(session, "ablate L1H2@END")
    rows = do(session, "compare mlps by measured @END").result["rows"]
    assert len(rows) == 4
    values: dict[str, list[float]] = {}
    for _ in ("now", "base"):
        before = session.snapshot.now.value
        for row in rows:
            after = do(session, f"ablate {row['node']}").result["after"]
            values.setdefault(row["node"], []).append(before - after)
            do(session, "undo")
        do(session, "disable i1")
    for row in rows:
        now, base = values[row["node"]]
        assert row["measured_left"] == pytest.approx(now, abs=1e-9)
        assert row["measured_right"] == pytest.approx(base, abs=1e-9)
        assert row["measured_difference"] == row["measured_left"] - row["measured_right"]


def test_nothing_is_measured_where_that_is_off(session: Session) -> None:
    session.engine.forget()
    do(session, "set measure off", "ablate L1H2")
    rows = do(session, "compare heads against base -n 5").result["rows"]
    assert all(row[f"measured_{side}"] is None for row in rows for side in ("left", "right", "difference"))


def test_the_next_page_goes_on_where_the_last_ended(session: Session) -> None:
    do(session, "ablate L1H2")
    first, whole = do(session, "compare all by direct -n 10"), do(session, "compare all by direct -n 0")
    assert first.more == "compare all by direct -n 10 --from 10"
    second = do(session, first.more)
    nodes = [row["node"] for row in first.result["rows"] + second.result["rows"]]
    assert nodes == [row["node"] for row in whole.result["rows"][:20]]
    assert whole.more is None


def test_a_row_of_one_side_is_blank_on_the_other_and_counted(session: Session) -> None:
    do(session, f'prompt B "{SHORTER}"')
    answer = do(session, "compare heads against B -n 0")
    result = answer.result
    counts = result["counts"]
    left = [row for row in result["rows"] if row["right"] is None]
    right = [row for row in result["rows"] if row["left"] is None]
    assert (len(left), len(right)) == (counts["only_left"], counts["only_right"]) and left
    assert all(row["direct_right"] is None and row["act_difference"] == row["act_left"] for row in left)
    assert all(row["total_left"] is None and row["total_difference"] == -row["total_right"] for row in right)
    assert f"{counts['only_left']} only now, {counts['only_right']} only B" in said(answer)
    assert any(line.endswith("only now") for line in answer.lines)


def test_a_comparison_is_written_as_a_table(session: Session) -> None:
    do(session, "ablate L1H2", "compare heads -n 3 --out it.csv", "compare heads -n 3 --wide")
    lines = Path("it.csv").read_text().splitlines()
    assert len(lines) == 4 and "measured_difference" in lines[0].split(",")


# Who is whose partner.

WORDS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=8).map(tuple)


def place(texts: tuple[str, ...], **names: int) -> Place:
    return Place(tuple(range(len(texts))), texts, names)


@given(WORDS, WORDS)
def test_partners_are_mutual(left: tuple[str, ...], right: tuple[str, ...]) -> None:
    there, back = partners(place(left), place(right)), partners(place(right), place(left))
    for at, other in enumerate(there.tolist()):
        assert other == -1 or back[other] == at
    assert (there >= 0).sum() == (back >= 0).sum()
    if len(left) == len(right):
        assert there.tolist() == list(range(len(left)))


@given(WORDS, WORDS)
def test_partners_have_the_same_role_or_the_same_text(left: tuple[str, ...], right: tuple[str, ...]) -> None:
    if len(left) == len(right):
        return
    found = partners(place(left), place(right)).tolist()
    assert found[0] == 0
    assert len(left) == 1 or len(right) == 1 or found[-1] == len(right) - 1
    for at, other in enumerate(found):
        if other >= 0 and (at, other) not in ((0, 0), (len(left) - 1, len(right) - 1)):
            assert left[at] == right[other]
            assert left[:at].count(left[at]) == right[:other].count(left[at])


def test_names_and_given_pairs_come_before_texts() -> None:
    left, right = place(("x", "a", "b", "c", "x"), IO=1), place(("x", "b", "a", "x"), IO=1)
    assert partners(left, right).tolist() == [0, 1, -1, -1, 3]
    assert partners(left, right, [(3, 2)]).tolist() == [0, 1, -1, 2, 3]
    assert partners(left, right, [(1, 2), (2, 1)]).tolist() == [0, 2, 1, -1, 3]
    assert partners(place(("a", "b"), OLD=9), place(("b", "a", "c"), OLD=9)).tolist() == [0, 2]


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_joined_as_a_search_would(seed: int) -> None:
    rng = random.Random(seed)
    sides, keys = [], []
    partner = np.array([0, -1, 3, 1])
    for length in (4, 5):
        rows = [
            (
                rng.randrange(3),
                rng.randrange(2),
                rng.randrange(-1, 2),
                at := rng.randrange(length),
                rng.randrange(-1, at + 1),
            )
            for _ in range(40)
        ]
        columns = [np.array(column) for column in zip(*rows, strict=True)]
        floats = [np.array([rng.random() for _ in rows]) for _ in range(4)]
        site = np.zeros(len(rows), dtype=np.int8)
        table = NodeTable(columns[0].astype(np.int8), site, *columns[1:], *floats)
        sides.append(Side("x", place(("a",) * length), 0.0, table, np.full(len(rows), np.nan)))
        keys.append(rows)
    there: dict[object, list[int]] = defaultdict(list)
    for row, key in enumerate(keys[1]):
        there[key].append(row)
    expected: list[tuple[int, int]] = []
    for row, (kind, layer, index, pos, key) in enumerate(keys[0]):
        alone = partner[pos] < 0 or (key >= 0 and partner[key] < 0)
        same = (kind, layer, index, int(partner[pos]), -1 if key < 0 else int(partner[key]))
        expected.append((row, -1 if alone or not there[same] else there[same].pop(0)))
    expected += [(-1, row) for row in sorted(row for rows in there.values() for row in rows)]
    found: Comparison = compared(sides[0], sides[1], partner)
    assert list(zip(found.of_left.tolist(), found.of_right.tolist(), strict=True)) == expected


def test_tokens_are_matched_with_words(session: Session) -> None:
    do(session, f'prompt B "{SHORTER}"', "set pos S2=John#2")
    plain = do(session, "compare embeds against B").result["partners"]
    given_ = do(session, "compare embeds against B with S2=John,store=Mary").result["partners"]
    assert plain[9] == -1 and given_[9] == 1
    assert given_[7] == 3


def message_of(session: Session, line: str) -> str:
    before = session.snapshot
    error = fail(session, line).error
    assert error is not None and session.snapshot is before
    return error.message


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("compare against base with IO=2",), "base is the same prompt: its tokens need no 'with'"),
        (("compare against B with 3",), "'3' matches no tokens: with IO=Mary#2,S2=9 has a token of each side"),
        (("compare against base --edits",), "--edits is for B: base has edits of its own"),
        (("keep it.run pairs", "compare heads against it.run"), "it.run has no rows of kind head: it keeps pair"),
        (("keep it.run", "compare heads against it.run by measured"),
         "it.run keeps no measured effect of these: rank them by measured before keep"),
        (("keep it.run", "trace M2@END", "compare against it.run"),
         "it.run was kept for ' Mary' - ' John' @END, this asks about M2@END: trace, u and d lead there"),
        (("keep it.run", "set metric prob", "compare against it.run"),
         "it.run was kept for logit_diff, this is prob: set metric logit_diff"),
        ((f"prompt B \"{SHORTER}\"", "trace L1H1@store<0 via q", "compare against B"),
         "trace L1H1@7<0 via q has no counterpart in B: name the partner of token 7 (with 7=POS)"),
        ((f"prompt B \"{SHORTER}\"", "trace L1H1@drink<John#1 via q", "compare against B with John#1=drink,drink=gave"),
         "trace L1H1@12<3 via q has no counterpart in B: its key 5 is after its query 2 there"),
        ((f"prompt B \"{SHORTER}\"", "ablate M0@END", "compare against B --edits"),
         "i1 (ablate M0@13 zero) names tokens of A: --edits needs a B whose tokens are as many"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_said(session: Session, lines: tuple[str, ...], message: str) -> None:
    session.engine.forget()
    do(session, *lines[:-1])
    assert message_of(session, lines[-1]) == message


def test_without_an_edit_and_without_b_there_is_nothing_to_compare_with(engine: Engine) -> None:
    session = begin(engine, prompt_b=None)
    assert message_of(session, "compare").startswith("nothing to compare with: ")
    do(session, "ablate L0H1")
    assert do(session, "compare").result["sides"]["right"] == "base"
    do(session, "undo", f'prompt B "{PROMPT_B}"')
    assert do(session, "compare").result["sides"]["right"] == "B"


def test_a_run_too_large_for_every_token_is_compared_at_the_end(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tdb_tui.commands.comparing.MAX_ROWS", 1000)
    answer = do(session, "compare neurons against B -n 0")
    assert {row["pos"] for row in answer.result["rows"]} == {END}
    assert answer.warnings == (f"too many rows for every token: those at token {END}",)
    assert message_of(session, "keep it.run neurons").endswith(
        "too many to keep: name kinds with fewer, as in keep FILE all"
    )
