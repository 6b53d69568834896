"""What the panes are given to show, against the session it comes from."""

from dataclasses import replace

import numpy as np
import pytest

from model.components import Kind
from tdb_tui.commands import execute
from tdb_tui.formats import node_label, token_label
from tdb_tui.session import Session
from tdb_tui.views.attention import attention
from tdb_tui.views.candidates import candidates
from tdb_tui.views.listing import listing
from tdb_tui.views.look import Looker
from tdb_tui.views.ranked import position_labels, ranked
from tdb_tui.views.rows import tops
from tdb_tui.views.title import title
from tdb_tui.views.tokens import tokens
from tdb_tui.views.trajectory import trajectory
from tests.ui.screens import session


@pytest.fixture
def debugged() -> Session:
    return session()


def test_ranked_rows_are_named_as_commands_name_them_and_come_in_order(debugged: Session) -> None:
    snapshot = debugged.snapshot
    view = ranked(snapshot)
    prompt = snapshot.state.inputs.prompt.tokens
    assert [view.node(at) for at in range(len(view))] == [
        node_label(view.table.node(int(row)), prompt, snapshot.tokenizer) for row in view.order
    ]
    ordered = np.abs(view.measure[view.order])
    assert (ordered[:-1] >= ordered[1:]).all()
    assert view.scale == ordered[0]


def test_a_head_row_says_which_token_it_reads_and_no_other_row_does(debugged: Session) -> None:
    snapshot = debugged.snapshot
    view = ranked(snapshot)
    for row in range(len(view.table)):
        node = view.table.node(row)
        read = int(view.reads[row])
        if node.component.kind is Kind.HEAD:
            assert read == snapshot.now.pattern(node.component)[node.pos].argmax()
        else:
            assert read == -1


def test_positions_are_labelled_as_everywhere_else(debugged: Session) -> None:
    snapshot = debugged.snapshot
    prompt = snapshot.state.inputs.prompt.tokens
    assert list(position_labels(snapshot)) == [
        token_label(pos, prompt, snapshot.tokenizer) for pos in range(len(prompt))
    ]


def test_the_listing_adds_up_to_the_metric(debugged: Session) -> None:
    view = listing(debugged.snapshot)
    assert sum(row.delta for row in view.rows) == pytest.approx(debugged.snapshot.now.value)
    assert view.rows[-1].value == pytest.approx(debugged.snapshot.now.value)
    assert view.scale == pytest.approx(max(abs(row.delta) for row in view.rows))
    assert [row.arrow for row in view.rows].index(True) == view.arrow == 0


def test_an_opened_line_adds_up_to_the_line(debugged: Session) -> None:
    execute(debugged, "n ;; s")
    view = listing(debugged.snapshot)
    inner = [row for row in view.rows if row.number.startswith(".")]
    (outer,) = (row for row in view.rows if row.name == "A0")
    assert sum(row.delta for row in inner) == pytest.approx(outer.delta)
    assert {row.line for row in inner} == {"A0"}


def test_shades_are_the_shown_heads_attention_from_the_token_cursor(debugged: Session) -> None:
    snapshot = debugged.snapshot
    head = snapshot.state.head
    view = tokens(snapshot, head)
    assert view.shades == tuple(snapshot.now.pattern(head)[snapshot.state.pos])
    assert view.cursor == snapshot.state.pos
    shown = attention(snapshot, head)
    assert shown.head == str(head)
    np.testing.assert_array_equal(shown.values, snapshot.now.pattern(head))
    assert (shown.row, shown.scale, shown.rows) == (snapshot.state.pos, 1.0, shown.labels)


def test_edits_show_beside_what_was_without_them(debugged: Session) -> None:
    base = debugged.snapshot.now.value
    assert title(debugged.snapshot).value == f"ld {base:+.2f}"
    assert trajectory(debugged.snapshot).baseline == ()
    execute(debugged, "ablate L1H0")
    now = debugged.snapshot.now.value
    assert title(debugged.snapshot).value == f"ld {base:+.2f} → {now:+.2f} (Δ {now - base:+.2f})"
    assert trajectory(debugged.snapshot).baseline[-1] == pytest.approx(base)
    assert title(debugged.snapshot).counts == "1 iv"


def test_next_tokens_are_the_likeliest_in_order(debugged: Session) -> None:
    snapshot = debugged.snapshot
    view = tops(snapshot)
    best = int(snapshot.now.logits(snapshot.state.pos).argmax())
    assert view.rows[0].endswith(f"'{snapshot.tokenizer.display(best)}'")


def test_the_ranking_is_made_anew_only_for_another_question(debugged: Session) -> None:
    looker = Looker()
    first = looker.look(debugged.snapshot)
    execute(debugged, "n")
    assert looker.look(debugged.snapshot).ranked is first.ranked
    execute(debugged, "rank by direct")
    second = looker.look(debugged.snapshot)
    assert second.ranked is not first.ranked
    assert second.ranked.by == "direct"
    execute(debugged, "ablate M0")
    assert looker.look(debugged.snapshot).ranked is not second.ranked


def test_control_characters_in_a_prompt_reach_no_view() -> None:
    hostile = "a\x1b[31mb\u202e\n\tc日本 e\u0301 \u0301"
    looked = Looker().look(session(prompt=hostile).snapshot)
    words = (*looked.tokens.texts, *looked.attention.labels, *looked.ranked.keys, *looked.tops.rows)
    assert all(character.isprintable() for word in words for character in word)


def test_candidates_begin_with_what_was_typed(debugged: Session) -> None:
    snapshot = debugged.snapshot
    assert candidates(snapshot, "node", "L1H") != []
    for kind, typed in (("node", "L1"), ("pos", "@J"), ("mode", "m"), ("kind", "h"), ("setting", "a")):
        found = candidates(snapshot, kind, typed)
        assert found
        assert all(word.startswith(typed) for word in found)
    table = snapshot.asked.table("head")
    strongest = str(table.node(int(np.abs(table.total).argmax())).component)
    assert candidates(snapshot, "node", "")[0] == strongest
    assert candidates(replace(snapshot), "variable", "x") == []
