"""Editing commands: what they say is what they make, other prompts by position and role, and taking it all back."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from model.edits.interventions import Patch, Span, flat
from model.sites import Site
from tdb_tui.commands import execute, registry
from tdb_tui.commands.changing import EDITS
from tdb_tui.engine import Engine
from tdb_tui.language.parsing import parse_line, quote
from tdb_tui.session import Session
from tdb_tui.sets.alignment import aligned, strip
from tests.sessions import END, PROMPT, SHAPE, begin, do, fail, load, said, write_model

ROWS = (
    {"prompt": " Mary and John went to the store, Mary gave a drink to", "targets": ["John"], "roles": {"IO": 2, "S": 8},
     "template": "long", "counterfactual": " Anna and Smith went to the store, Mary gave a drink to"},
    {"prompt": " Anna and Smith went to the store, Anna gave a drink to", "targets": ["Smith"], "roles": {"IO": 2, "S": 8},
     "template": "long", "counterfactual": " John and Mary went to the store, Smith gave a drink to"},
    {"prompt": " then Smith and John went, John gave a drink to", "targets": ["Smith"], "roles": {"IO": 1, "S": 6},
     "template": "short", "counterfactual": " then Anna and Mary went, Smith gave a drink to"},
)  # fmt: skip
"Two of 14 tokens with <|endoftext|>, one of 12."


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"))


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """With a prompt set and a vector in the directory it stands in."""
    monkeypatch.chdir(tmp_path)
    Path("set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    Path("lines.txt").write_text("\n".join(row["prompt"] for row in ROWS[:2]) + "\n")
    np.save("up.npy", np.arange(SHAPE.d_model, dtype=np.float64))
    return begin(engine)


SET = "prompts set.jsonl ;; "
MAKES = (
    "ablate L1H2@END<Mary cut", "ablate resid_pre.0,resid_mid.1@2:5 scale 0.5", "ablate L1H2.q,L2.pattern@3 zero",
    "ablate M1@3,M2,L1H2@5 value -0.25", "ablate A1 noise 0.5 seed 11", "ablate all", "ablate all@END but L1 zero",
    "ablate all but L1H2,M0@END A2@3:END scale 0.5", SET + "ablate L1H2@2 mean", SET + "ablate M1@END resample seed 5",
    SET + "ablate all but L1H2 resample", "patch resid_post.1 from B", "patch L1H2.pattern,L1H3.k@3:5 from B",
    "patch M1@3,M2@5 from B", "patch L1H2@END<3 from B@8<2", SET + "patch M0@END from 3", SET + "patch L1H2@9 from 3@S",
    "freeze attn", "freeze ln@END", "freeze mlp @3:5", "freeze L1H2@END<2", "freeze resid_mid.1,L2H1.v@3",
    'steer resid_pre.1@END += 4 * dir(" Mary" - " John")', "steer M1 -= unit(embed(Mary, Anna - John))",
    "steer E@3 += 1e-3 * up.npy", SET + "steer L1H2.k@4 += 2 * unit(diff(set, set counterfactuals, IO))",
    "steer A1@END += diff(lines.txt, set.jsonl -n 1)", "steer N1.5@END = 12", "steer N1.5,N2.7 += -3", "steer N1.5 clamp -1 2.5",
    "steer L1H2@END<Mary = 0.5",
)  # fmt: skip


@pytest.mark.parametrize("line", MAKES)
def test_an_edits_text_makes_the_same_edit_again(session: Session, line: str) -> None:
    """parse(str(change)) == change, for the edit as a whole and for each of its changes."""
    before = session.snapshot.now.value
    reply = do(session, line)
    (edit,) = session.state.inputs.edits
    assert reply.result["intervention"] == {"id": "i1", "command": edit.text}
    assert reply.result["before"] == before and reply.result["after"] == session.snapshot.now.value
    assert reply.result["delta"] == reply.result["after"] - before
    for text, made in ((edit.text, edit.changes), *((str(change), (change,)) for change in edit.changes)):
        (call,) = parse_line(text, registry.takes_value)
        assert EDITS[call.name.text](session.snapshot, call) == made, text


@pytest.mark.parametrize("line", MAKES)
def test_an_edit_is_saved_undone_and_redone_to_the_bit(session: Session, engine: Engine, line: str) -> None:
    clean = session.snapshot.now.trace
    do(session, line, "save it.json")
    edited, inputs = session.snapshot.now.trace, session.state.inputs
    engine.forget()  # so that what is compared is computed again
    do(session, "undo")
    assert all(torch.equal(session.snapshot.now.trace[at], clean[at]) for at in clean.acts)
    do(session, "redo")
    assert all(torch.equal(session.snapshot.now.trace[at], edited[at]) for at in edited.acts)
    there = begin(engine, " Mary went", None)
    do(there, "load it.json")
    assert there.state.inputs == inputs
    assert all(torch.equal(there.snapshot.now.trace[at], edited[at]) for at in edited.acts)
    again = begin(engine)
    assert execute(again, "source it.json")[-1].error is not None
    do(session, "export it.tdb")
    do(again, "source it.tdb")
    assert again.snapshot.now.value == session.snapshot.now.value


def test_what_overflows_is_no_result_and_leaves_the_stack(session: Session) -> None:
    do(session, "ablate L1H1")
    for line in (
        "steer M1 += 1e30 * up.npy",
        "steer N1.5 = 1e38",
        "ablate A1 noise 1e38",
        "ablate L1H2@0<0 cut",
    ):
        before = session.snapshot
        error = fail(session, line).error
        assert error is not None and error.code == "not-finite" and error.message.endswith("it was not made")
        assert session.snapshot is before


def test_a_token_takes_its_counterparts_value_in_a_prompt_of_another_length(session: Session) -> None:
    """START, END, texts that stand as often in both, and names that both sides give."""
    do(session, 'prompt B " then Anna gave Smith a drink to"')
    for line, source in (
        ("patch M1@END from B", 7), ("patch M1@START from B", 0), ("patch M1@gave from B", 3),
        ("patch M1@11:END from B", (5, 7)),
    ):  # fmt: skip
        do(session, line)
        (change,) = session.state.inputs.edits[-1].changes
        assert isinstance(change, Patch)
        assert change.source == (Span(source, source) if isinstance(source, int) else Span(*source))
    error = fail(session, "patch M1@Mary from B").error
    assert error is not None and error.message == (
        "A has 14 tokens and B has 8: give positions (patch M1@13 from B@7) or roles (set pos)"
    )
    do(session, "set pos IO=Mary", "set pos B.IO=Smith", "patch M1@IO from B", "patch M2@3 from B@IO")
    assert [edit.text for edit in session.state.inputs.edits[-2:]] == [
        "patch M1@1 from B@4",
        "patch M2@3 from B@4",
    ]
    now, other = session.snapshot.now.trace, session.snapshot.other
    assert other is not None and torch.equal(now[Site.MLP_OUT, 2][3], other.trace[Site.MLP_OUT, 2][4])
    do(session, "undo 3")
    fail(session, "patch M1@3 from B@IO")


def test_a_name_of_b_is_not_one_of_a(session: Session) -> None:
    do(session, "set pos IO=Mary", "patch M1@3 from B@IO")  # as long: a name of A holds in B
    do(session, "set pos B.IO=Mary#2", "patch M1@3 from B@IO", "patch M2@IO from B")
    assert [edit.text for edit in session.state.inputs.edits] == [
        "patch M1@3 from B@1", "patch M1@3 from B@9", "patch M2@1 from B@1",
    ]  # fmt: skip
    assert fail(begin(session.engine, prompt_b=None), "set pos B.IO=1").error is not None


def test_any_example_of_the_set_can_be_patched_from(session: Session) -> None:
    do(session, "prompts set.jsonl", "patch M1@2 from 2", "patch M1@END from 3", "patch L1H2@9 from 3@S")
    now = session.snapshot.now.trace
    runs = [begin(session.engine, row["prompt"]).snapshot.now.trace for row in ROWS]
    assert torch.equal(now[Site.MLP_OUT, 1][2], runs[1][Site.MLP_OUT, 1][2])
    assert torch.equal(now[Site.MLP_OUT, 1][END], runs[2][Site.MLP_OUT, 1][-1])
    assert torch.equal(now[Site.Z, 1][2, 9], runs[2][Site.Z, 1][2, 7])
    for line, message in (
        ("patch M1 from 4", "no example 4: the set has 1 to 3"),
        ("patch M1 from 3", "A has 14 tokens and example 3 has 12: give positions (patch M1@13 from 3@11) or roles (set pos)"),
        ("patch M1@2 from 3@Mary", None),
        ("patch M1@2 from C", "where from: patch NODES from B, or from B@13"),
    ):  # fmt: skip
        before = session.snapshot
        error = fail(session, line).error
        assert error is not None and message in (None, error.message) and session.snapshot is before


def test_an_example_stays_what_it_was_when_another_set_is_loaded(session: Session) -> None:
    Path("other.jsonl").write_text(json.dumps(ROWS[2]) + "\n")
    do(session, "prompts set.jsonl", "patch M1@2 from 1")
    value = session.snapshot.now.value
    do(session, "prompts other.jsonl")
    assert session.snapshot.now.value == value
    error = fail(session, "patch M2@2 from 1@2").error
    assert error is not None and error.message == "i1 takes from example 1 of another set: delete i1 first"
    do(session, "delete i1", "patch M2@2 from 1@2")


def means_of(session: Session, prompts: list[str], site: Site, layer: int) -> torch.Tensor:
    return torch.stack(
        [begin(session.engine, text).snapshot.now.trace[site, layer] for text in prompts]
    ).mean(0)


def test_means_per_template_are_those_of_the_prompts_own(session: Session) -> None:
    """The IOI paper's: over the corrupted prompts of the same template, position by position."""
    do(session, "prompts set.jsonl", "prompts use 1")
    reply = do(session, "set means set counterfactuals per template")
    assert said(reply) == "means are taken over the 2 of 3 prompts with template 'long', position by position"
    do(session, "ablate M1,L1H2 mean")
    both = [row["counterfactual"] for row in ROWS[:2]]
    now = session.snapshot.now.trace
    assert torch.allclose(now[Site.MLP_OUT, 1], means_of(session, both, Site.MLP_OUT, 1), atol=1e-6)
    assert torch.allclose(now[Site.Z, 1][2], means_of(session, both, Site.Z, 1)[2], atol=1e-6)
    do(session, "prompts use 3")  # another template: the edit's means are now that one's
    alone = begin(session.engine, ROWS[2]["counterfactual"]).snapshot.now.trace
    assert torch.equal(session.snapshot.now.trace[Site.MLP_OUT, 1], alone[Site.MLP_OUT, 1])
    before = session.snapshot
    error = fail(session, "prompt Mary and John went to").error
    assert error is not None and error.message == (
        "no mean per template: the prompt has none, and prompts use N goes to one that has"
    )
    assert session.snapshot is before


def test_means_of_a_template_are_taken_once(session: Session) -> None:
    """Counted in sites run: the second prompt of the template runs only itself."""
    session.engine.forget()
    do(
        session,
        "prompts set.jsonl",
        "prompts use 1",
        "set means set counterfactuals per template",
        "ablate M1 mean",
    )
    before = session.engine.sites_run
    do(session, "prompts use 2")
    one = session.engine.sites_run - before
    before = session.engine.sites_run
    do(session, "prompts use 3")
    assert session.engine.sites_run - before > one > 0


def test_means_per_role_match_tokens_by_role(session: Session) -> None:
    do(session, "prompts set.jsonl", "prompts use 1", "set means set per role", "ablate M1 mean")
    runs = [begin(session.engine, row["prompt"]).snapshot.now.trace[Site.MLP_OUT, 1] for row in ROWS]
    now = session.snapshot.now.trace[Site.MLP_OUT, 1]
    places = {0: (0, 0, 0), 3: (3, 3, 2), 9: (9, 9, 7), END: (END, END, 11)}
    for pos, theirs in places.items():
        expected = torch.stack([run[at] for run, at in zip(runs, theirs, strict=True)]).mean(0)
        assert torch.allclose(now[pos], expected, atol=1e-6)
    rest = torch.cat([run[1:] for run in runs]).mean(0)
    assert torch.allclose(now[5], rest, atol=1e-6) and torch.equal(now[5], now[6])
    error = fail(session, "ablate L1H2.pattern mean").error
    assert error is not None and "attention has a mean only over prompts as long as this one" in error.message


def test_roles_that_the_user_names_serve_for_means_too(session: Session) -> None:
    do(session, "set pos IO=John#1", "set means set.jsonl per role", "ablate M1@IO mean")
    runs = [begin(session.engine, row["prompt"]).snapshot.now.trace[Site.MLP_OUT, 1] for row in ROWS]
    expected = torch.stack([run[at] for run, at in zip(runs, (3, 3, 2), strict=True)]).mean(0)
    assert torch.allclose(session.snapshot.now.trace[Site.MLP_OUT, 1][3], expected, atol=1e-6)


def test_a_mean_over_one_prompt_and_a_draw_from_one_are_a_patch(session: Session) -> None:
    Path("one.txt").write_text(ROWS[0]["prompt"] + "\n")
    do(session, f"prompt B {quote(ROWS[0]['prompt'])}", "set means one.txt")
    values = [do(session, f"{line} ;; undo") and session.future[-1] for line in ("patch M1 from B", "ablate M1 mean", "ablate M1 resample seed 4")]  # fmt: skip
    traces = [session.engine.reading(step.before).trace for step in values]
    for trace in traces[1:]:
        assert all(torch.equal(trace[at], traces[0][at]) for at in trace.acts)


def test_the_drawn_example_is_named_and_drawn_again_by_its_seed(session: Session) -> None:
    do(session, "prompts set.jsonl")
    seen: set[str] = set()
    for seed in range(12):
        first, drawn = do(session, f"ablate M1 resample seed {seed}").lines
        number = re.fullmatch(r"    drawn: example ([12]) of 3", drawn)
        assert number is not None, drawn  # the third is shorter: it has not every token
        run = begin(session.engine, ROWS[int(number[1]) - 1]["prompt"]).snapshot.now.trace
        assert torch.equal(session.snapshot.now.trace[Site.MLP_OUT, 1], run[Site.MLP_OUT, 1])
        assert f"resample seed {seed} " in first
        seen.add(number[1])
        do(session, "undo")
    assert seen == {"1", "2"}
    do(session, "prompts set.jsonl -n 1 --json", "prompt Mary and John went to")
    error = fail(session, "ablate M1 resample").error
    assert error is not None and error.message == "none of the 1 reference prompts has counterparts of M1@*"
    do(session, "ablate M1@END resample")


def test_the_prompt_set_serves_as_reference_where_no_means_are_set(session: Session) -> None:
    do(session, "prompts set.jsonl", "ablate M1@3 mean")
    means = session.state.inputs.means
    assert means is not None and means.text == "set.jsonl" and len(means.prompts) == 3
    do(session, "undo")
    assert session.state.inputs.means is None
    fail(begin(session.engine), "ablate M1@3 mean")


def test_all_but_says_what_it_covers(session: Session) -> None:
    do(session, "ablate all but L1H2,M0@END zero")
    now = session.snapshot.now.trace
    z = now[Site.Z, 1]
    assert (z[[0, 1, 3]] == 0).all() and (z[2, :END] == 0).all() and (z[2, END] != 0).any()
    assert (now[Site.MLP_OUT, 0][:END] == 0).all() and (now[Site.MLP_OUT, 0][END] != 0).any()
    do(session, "undo")
    lines = do(session, "ablate all but L1H2@* M0@END zero").lines
    assert lines[1] == "    covers 15 of 16 heads and 4 of 4 MLPs, 1 of them at some tokens only"
    whole = do(session, "undo", "ablate all but L0-3 zero")
    assert whole.result["delta"] == 0


def test_swapping_prompts_turns_noising_into_denoising(session: Session) -> None:
    do(session, "set pos S2=9", "patch L1H2@3:5 from B@2:4", "ablate M1@END")
    a, b = session.state.inputs.prompt.tokens, session.state.inputs.prompt_b
    clean = begin(session.engine)
    assert b is not None and clean.snapshot.other is not None
    reply = do(session, "swap")
    assert session.state.inputs.prompt.tokens == b.tokens
    assert [edit.text for edit in session.state.inputs.edits] == [
        "patch L1H2@2:4 from B@3:5",
        "ablate M1@13 zero",
    ]
    assert reply.result["other"] == clean.snapshot.now.value
    assert session.snapshot.base.value == clean.snapshot.other.value
    by_hand = begin(session.engine, clean.state.inputs.prompt_b.text, PROMPT)  # pyright: ignore[reportOptionalMemberAccess]
    do(by_hand, "patch L1H2@2:4 from B@3:5", "ablate M1@END")
    assert by_hand.snapshot.now.value == session.snapshot.now.value == reply.result["value"]
    do(session, "swap")
    assert session.state.inputs.prompt.tokens == a and session.state.roles == {"S2": 9}
    assert [edit.text for edit in session.state.inputs.edits] == [
        "patch L1H2@3:5 from B@2:4",
        "ablate M1@13 zero",
    ]


def test_swapping_prompts_of_different_length_moves_edits_to_their_counterparts(session: Session) -> None:
    do(
        session,
        'prompt B " then Anna gave Smith a drink to"',
        "ablate M1@gave",
        "ablate all but M0@END zero",
        "swap",
    )
    assert [edit.text for edit in session.state.inputs.edits] == [
        "ablate M1@3 zero",
        "ablate all@* but M0@7 zero",
    ]
    do(session, "reset", "ablate M1@Smith")
    before = session.snapshot
    error = fail(session, "swap").error
    assert error is not None and error.message == (
        "i3 (ablate M1@4 zero): token 4 has no counterpart in B: set pos and set pos B.NAME name one"
    )
    assert session.snapshot is before
    assert fail(begin(session.engine, prompt_b=None), "swap").error is not None


def test_freezing_holds_what_the_unedited_run_has(session: Session) -> None:
    do(session, "ablate M0", "freeze attn", "freeze L2H1.v,M2@END")
    base, now = session.snapshot.base.trace, session.snapshot.now.trace
    for layer in range(SHAPE.n_layer):
        assert torch.equal(now[Site.PATTERN, layer], base[Site.PATTERN, layer])
    assert torch.equal(now[Site.MLP_OUT, 2][END], base[Site.MLP_OUT, 2][END])
    assert not torch.equal(now[Site.MLP_OUT, 2][3], base[Site.MLP_OUT, 2][3])
    do(session, "freeze resid_post.3")
    assert session.snapshot.now.value == session.snapshot.base.value


def test_a_steering_direction_is_the_one_that_its_words_name(session: Session) -> None:
    model, tokenizer = session.snapshot.now.model, session.snapshot.tokenizer
    mary, john = (tokenizer.single(name).id for name in (" Mary", " John"))
    base = session.snapshot.now.trace
    for words, rows in (("dir", model.unembedding), ("embed", model.wte.weight)):
        do(session, f'steer resid_mid.1@3 += 2 * {words}(" Mary" - " John")')
        added = session.snapshot.now.trace[Site.RESID_MID, 1] - base[Site.RESID_MID, 1]
        assert torch.allclose(added[3], 2 * (rows[mary] - rows[john]), atol=1e-5) and not added[:3].any()
        do(session, "undo")
    do(session, "prompts set.jsonl", "steer resid_mid.1@END -= diff(set, set counterfactuals)")
    added = session.snapshot.now.trace[Site.RESID_MID, 1] - base[Site.RESID_MID, 1]
    ends = [
        torch.stack(
            [begin(session.engine, row[key]).snapshot.now.trace[Site.RESID_MID, 1][-1] for row in ROWS]
        ).mean(0)
        for key in ("prompt", "counterfactual")
    ]
    assert torch.allclose(added[-1], ends[1] - ends[0], atol=1e-5)
    reply = do(session, "undo", "steer resid_mid.1@END += 3 * unit(up.npy)")
    assert reply.lines[1].startswith("    adds a vector of norm 3 to one of norm ")


def test_aligned_prompts_show_where_they_differ(session: Session) -> None:
    reply = do(session, "align")
    assert reply.result["differing"] == 1 and reply.result["partners"] == list(range(14))
    assert [row["a"]["pos"] for row in reply.result["rows"] if not row["same"]] == [9]
    assert reply.lines[2].split() == ["^"] and reply.lines[-1] == "1 of 14 places differ"
    do(session, "set pos IO=Mary", 'prompt B " then Anna gave Smith a drink to"', "set pos B.IO=Anna")
    reply = do(session, "align")
    rows, partners = reply.result["rows"], reply.result["partners"]
    for side in ("a", "b"):
        places = [row[side]["pos"] for row in rows if row[side] is not None]
        assert places == list(range(reply.result["lengths"]["ab".index(side)]))
    assert {(row["a"]["pos"], row["b"]["pos"]) for row in rows if row["same"]} <= set(enumerate(partners))
    assert (1, 2) in {(row["a"]["pos"], row["b"]["pos"]) for row in rows if row["a"] and row["b"]}
    assert [row["role"] for row in rows if row["role"]] == ["IO"]
    assert all(len(line) <= 80 for line in reply.lines)
    assert fail(begin(session.engine, prompt_b=None), "align").error is not None


def test_counterparts_that_cross_are_not_both_opposite_each_other() -> None:
    pairs = aligned((1, 2, 3, 4), (1, 3, 2, 4), np.array([0, 2, 1, 3]))
    assert [(pair.a, pair.b) for pair in pairs if pair.same] in (
        [(0, 0), (1, 2), (3, 3)],
        [(0, 0), (2, 1), (3, 3)],
    )
    assert (
        sorted(pair.a for pair in pairs if pair.a >= 0)
        == sorted(pair.b for pair in pairs if pair.b >= 0)
        == [0, 1, 2, 3]
    )
    assert aligned((1, 2), (3,), np.array([-1, -1]))[0].same is False


def test_a_strip_goes_on_below_where_it_is_too_wide() -> None:
    lines = list(strip([("Mary", "Anna")] * 5, ("A", "B"), 20))
    assert lines == ["A  Mary Mary Mary", "B  Anna Anna Anna", "", "A  Mary Mary", "B  Anna Anna"]


def test_edits_follow_their_roles_to_another_example(session: Session) -> None:
    """Patches from an example stay where that example has them; a complement knows the new prompt's length."""
    do(
        session,
        "prompts set.jsonl",
        "prompts use 1",
        "patch M1@IO from 2@S",
        "steer N1.5@S = 3",
        "ablate all but M0@IO zero",
    )
    do(session, "prompts use 3")
    assert [edit.text for edit in session.state.inputs.edits] == [
        "patch M1@2 from 2@9", "steer N1.5@7 = 3", "ablate all@* but M0@2 zero",
    ]  # fmt: skip
    (changes,) = (edit.changes for edit in session.state.inputs.edits[2:])
    spans = {change.span for change in flat(changes) if str(change.component) == "M0"}
    assert spans == {Span(0, 1), Span(3, 11)}


def test_interrupting_any_of_them_leaves_the_session_as_it_was(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, stop_here = session.engine, session.engine.stop_here
    do(session, "prompts set.jsonl")
    for line in ("ablate M1 mean", "ablate M1 resample", "patch M1@2 from 2", "freeze attn ;; ablate M0",
                 "swap"):  # fmt: skip
        engine.forget()
        before, seen = session.snapshot, [0]

        def stopping(site: Site, layer: int, x: torch.Tensor, seen: list[int] = seen) -> torch.Tensor:
            seen[0] += 1
            if seen[0] == 20:
                engine.interrupt.set()
            return stop_here(site, layer, x)

        with monkeypatch.context() as patch:
            patch.setattr(engine, "stop_here", stopping)
            done = execute(session, line)[-1]
        assert done.interrupted, line
        assert session.snapshot is before or ";;" in line
