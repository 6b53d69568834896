"""`edge` and `path`: what they make of their words, how they stack, undo, save and load, and what they refuse."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from model.components import Component, Kind
from model.edits.changes import Span
from model.edits.edges import Carried, EdgeChange, EdgeKeep
from model.edits.interventions import Ablate, Change, Mode, Patch
from model.edits.links import Link
from model.edits.path_edits import Meaning, PathPatch
from model.measured.scorers import unchanged
from model.sites import Site
from model.trace import record
from tdb_tui.commands import execute
from tdb_tui.engine import Engine
from tdb_tui.errors import Interrupted
from tdb_tui.session import Session
from tests.sessions import END, SHAPE, begin, do, fail, load, said, write_model

L0H1, L1H3 = Component(Kind.HEAD, 0, 1), Component(Kind.HEAD, 1, 3)
M0, M2, E, U = Component(Kind.MLP, 0), Component(Kind.MLP, 2), Component(Kind.EMBED), Component(Kind.UNEMBED)
L2H1 = tuple(Component(kind, 2, 1) for kind in (Kind.Q, Kind.K, Kind.V))
WHOLE, LAST = Span(0, END), Span(END, END)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), "float64")


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return begin(engine)


def change(session: Session) -> Change:
    """What the last edit does."""
    (found,) = session.state.inputs.edits[-1].changes
    assert isinstance(found, EdgeChange | EdgeKeep | PathPatch)
    return found


def links(*pairs: tuple[Ablate | Patch, Component]) -> EdgeChange:
    return EdgeChange(tuple(Carried(*pair) for pair in pairs))


CASES = (
    ("edge ablate L0H1 -> L2H1.q", links((Ablate(L0H1), L2H1[0]))),
    ("edge ablate L0H1->L2H1.q zero", links((Ablate(L0H1), L2H1[0]))),
    ("edge ablate L0H1@END -> L2H1", links(*((Ablate(L0H1, LAST), head) for head in L2H1))),
    ("edge ablate L0H1 -> L2H1.k@END", links((Ablate(L0H1, LAST), L2H1[1]))),
    (
        "edge ablate L0H1,M0 -> L2H1.q, L1H3@2:4 -> M2 scale 0.5",
        links(
            (Ablate(L0H1, mode=Mode.SCALE, amount=0.5), L2H1[0]),
            (Ablate(M0, mode=Mode.SCALE, amount=0.5), L2H1[0]),
            (Ablate(L1H3, Span(2, 4), mode=Mode.SCALE, amount=0.5), M2),
        ),
    ),
    ("edge ablate L0H1@END<Mary -> U", links((Ablate(L0H1, LAST, 1), U))),
    ("edge patch L0H1@END -> U@END, M0 -> M2", links((Patch(L0H1, LAST, LAST), U), (Patch(M0, WHOLE, WHOLE), M2))),
    ("edge patch M0@END -> U from B@3", links((Patch(M0, LAST, Span(3, 3)), U))),
    (
        "edge keep L0H1@END -> L2H1.q, L1H3@END<Mary -> U from B",
        EdgeKeep((Link(L0H1, L2H1[0], LAST), Link(L1H3, U, LAST, 1)), Patch(E, WHOLE, WHOLE)),
    ),
    ("edge keep none", EdgeKeep((), Ablate(E))),
    ("path L0H1 -> L2H1.q from B", PathPatch((Patch(L0H1, WHOLE, WHOLE),), (L2H1[0],))),
    ("path L0H1,M0 -> U zero mlps @END", PathPatch((Ablate(L0H1), Ablate(M0)), (U,), Meaning.MLPS, LAST)),
    ("path E@Mary -> L2H1@END from B@2 direct", PathPatch((Patch(E, Span(1, 1), Span(2, 2)),), L2H1, tokens=LAST)),
)  # fmt: skip


@pytest.mark.parametrize(("line", "made"), CASES, ids=[line for line, _ in CASES])
def test_words_make_a_value_whose_text_makes_it_again(session: Session, line: str, made: Change) -> None:
    do(session, line)
    assert change(session) == made
    text = session.state.inputs.edits[-1].text
    assert text == str(made)
    do(session, "reset", text)
    assert change(session) == made and session.state.inputs.edits[-1].text == text


def test_the_metric_is_that_of_a_run_with_the_change(session: Session) -> None:
    for line, made in CASES:
        reply = do(session, "reset", line)
        asked = session.snapshot.asked
        run = record(asked.run.model, asked.run.trace.tokens, [made], asked.run.sources)
        assert reply.result["after"] == pytest.approx(
            unchanged(asked.run.model, run, asked.scorer), abs=1e-12
        )
        assert reply.result["before"] == session.snapshot.base.value


def test_they_stack_undo_save_load_and_are_scripted(session: Session, engine: Engine) -> None:
    lines = (
        "ablate L1H3@END",
        "edge patch L0H1 -> L2H1, M0 -> U",
        "path M0 -> L2H1.k mlps",
        "edge keep L2H1 -> U from B",
    )
    for line in lines:
        do(session, line)
    value, edits = session.snapshot.now.value, session.state.inputs.edits
    for _ in lines:
        do(session, "undo")
    assert session.snapshot.now.value == session.snapshot.base.value
    do(session, "redo 4", "save it.json", "export it.tdb")
    assert session.snapshot.now.value == value and session.state.inputs.edits == edits
    for line in ("load it.json", "source it.tdb"):
        again = begin(engine)
        do(again, line)
        assert again.state.inputs.edits == edits
        assert again.snapshot.now.value == pytest.approx(value, abs=1e-12)
    do(session, "disable i2", "delete i4")
    texts = [edit.text for edit in session.state.inputs.edits]
    assert len(texts) == 3 and said(do(session, "info interventions")).count("->") == 3


def test_the_other_commands_work_under_them(session: Session) -> None:
    for line in (
        "edge ablate L0H1 -> L2H1.q, M0 -> U",
        "path L0H1 -> L2H1.q from B mlps",
        "edge keep L2H1 -> U",
    ):
        do(session, "reset", line)
        books = do(session, "rank all by direct -n 0").result["balance"]
        assert books["difference"] == pytest.approx(0, abs=1e-9)
        for other in ("lens", "attn L2H1", "trace L2H1@END via q", "up", "feeds L0H1@END", "upstream -d 1",
                      "rank heads by measured @END -n 3", "compare", "generate 2", "top L1H3@END"):  # fmt: skip
            do(session, other)


def test_a_path_is_ranked_among_all_senders_beside_its_gradient(session: Session) -> None:
    for line in (
        "path all -> L2H1.q@END -n 0",
        "path all -> L2H1 zero mlps -n 0",
        "path all@END -> U,M2@END -n 0",
    ):
        do(session, "reset")
        found = do(session, line).result
        effects = [row["effect"] for row in found["rows"]]
        assert effects == sorted(effects, key=abs, reverse=True)
        assert len(effects) == {"L2H1.q": 11, "U": 15}[found["receivers"][0]]  # M2 reads before U does
        estimates = [row["estimate"] for row in found["rows"]]
        assert found["correlation"] == pytest.approx(np.corrcoef(effects, estimates)[0, 1], abs=1e-9)
        row = found["rows"][1]
        one = do(session, line.replace("path all", f"path {row['sender']}").removesuffix(" -n 0"))
        assert one.result["delta"] == pytest.approx(row["effect"], abs=1e-10)
        assert one.result["after"] == pytest.approx(row["value"], abs=1e-10)


def test_direct_edges_of_a_sweep_are_those_that_feeds_shows(session: Session) -> None:
    """Zeroed at one token, the estimate is minus the edge, as `feeds into` has it."""
    swept = do(session, "path all@END -> L2H1.q@END zero -n 0").result["rows"]
    fed = {row["node"]: row["edge"] for row in do(session, "feeds into L2H1@END via q -n 0").result["rows"]}
    assert len(swept) == 11
    for row in swept:
        biased = fed.get(f"B{row['sender']}@{END}", 0.0)  # an MLP's bias is part of what it writes
        assert row["estimate"] == pytest.approx(-fed[f"{row['sender']}@{END}"] - biased, abs=1e-9)


def test_a_sweep_asks_what_the_frame_asks_and_keeps_edits_in_force(session: Session) -> None:
    do(session, "trace L3H1@END via v", "edge ablate L0H1 -> L2H1.q", "ablate M1@3")
    found = do(session, "path all -> L2H1.v from B -n 2").result
    assert found["before"] == pytest.approx(session.snapshot.asked.value, abs=1e-9)
    assert session.state.inputs.edits[-1].text == "ablate M1@3 zero"  # it makes no edit


CIRCUIT = (
    "circuit edge L0H1@END -> L2H1@END",
    "circuit edge M0@3 -> L2H1@END via k",
    "circuit edge L2H1@END -> U@END",
)


def test_a_circuit_is_evaluated_by_its_edges(session: Session) -> None:
    do(session, *CIRCUIT)
    reply = do(session, "edge keep circuit draft from B")
    kept = change(session)
    assert isinstance(kept, EdgeKeep)
    assert kept.kept == (
        *(Link(L0H1, head, LAST) for head in L2H1),
        Link(M0, L2H1[1], Span(3, 3)),
        Link(Component(Kind.HEAD, 2, 1), U, LAST),
    )
    circuit = reply.result["circuit"]
    assert circuit["edges"] == 5 and circuit["whole"] == session.snapshot.base.value
    assert session.snapshot.other is not None
    assert circuit["none"] == pytest.approx(session.snapshot.other.value, abs=1e-9)
    assert circuit["faithfulness"] == pytest.approx(
        (reply.result["after"] - circuit["none"]) / (circuit["whole"] - circuit["none"]), abs=1e-9
    )
    do(session, "reset", "edge cut circuit draft zero")
    assert change(session) == links(*((Ablate(each.tail, each.span), each.head) for each in kept.kept))


def test_everything_kept_is_the_model_and_everything_cut_is_prompt_b(session: Session) -> None:
    nodes = ["E", *(f"L{layer}H*,M{layer}" for layer in range(SHAPE.n_layer))]
    lines = [f"{tails} -> {heads}" for tails, heads in edges_of(nodes)]
    whole = session.snapshot.now.value
    assert do(session, f"edge keep {', '.join(lines)} zero").result["after"] == whole
    do(session, "reset")
    assert session.snapshot.other is not None
    after = do(session, f"edge patch {', '.join(lines)} from B").result["after"]
    assert after == pytest.approx(session.snapshot.other.value, abs=1e-9)


def edges_of(nodes: list[str]) -> Iterator[tuple[str, str]]:
    """Every edge there is, in words."""
    layers = range(SHAPE.n_layer)
    yield "E", ",".join([*(f"L{layer}" for layer in layers), "U"])
    for layer in layers:
        after = [f"L{later}" for later in layers if later > layer]
        yield f"L{layer}H*", ",".join([f"M{layer}", *after, "U"])
        yield f"M{layer}", ",".join([*after, "U"])


def test_edits_of_edges_move_with_their_roles(session: Session, tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_text(
        '{"prompt": " Anna went to the store", "target": [" Mary"], "roles": {"S": 1, "V": 2}}\n'
        '{"prompt": " and then Anna went to the store", "target": [" Mary"], "roles": {"S": 3, "V": 4}}\n'
    )
    do(
        session,
        "prompts set.jsonl",
        "prompts use 1",
        "edge ablate L0H1@S -> M2, M0@V -> U",
        "path M0@V -> L2H1.q@V zero",
    )
    do(session, "prompts use 2")
    texts = [edit.text for edit in session.state.inputs.edits]
    assert texts == [
        "edge ablate L0H1@4 -> M2, M0@5 -> U zero",
        "path M0@5 -> L2H1.q@5 zero direct",
    ]


BAD = (
    ("edge abl", "bad-argument", 5, "edge has no 'abl': did you mean 'ablate'?"),
    ("edge ablate L0H1", "missing-argument", 12, "an edge has a sender and a reader: edge ablate L0H1 -> L2H1.q"),
    ("edge ablate L0H1 ->", "missing-argument", 12, "an edge has a sender and a reader: edge ablate L0H1 -> L2H1.q"),
    ("edge ablate L0H1 -> L2H1.q -> U", "bad-argument", 27, "edges are separated by a comma and a space: edge ablate L0H1 -> L2H1.q, M0 -> U"),
    ("edge ablate L0H1@3 -> L2H1.q@4", "bad-edge", 12, "L0H1@3 writes and L2H1.q@4 reads other tokens: an edge is at one token"),
    ("edge ablate L0H1 -> resid_pre.2", "bad-node", 20, "resid_pre.2 is no reader: heads, their q, k and v, A9, M9 and U are"),
    ("edge ablate L1H1@END<2 -> U cut", "bad-argument", 12, "an edge cannot carry 'ablate L1H1@13<2 cut': its tail is ablated or patched, and not cut"),
    ("edge ablate L0H1 -> U from B", "bad-argument", 22, "unexpected 'from': edge ablate A -> B zero"),
    ("edge patch L0H1 -> U zero", "bad-argument", 21, "unexpected 'zero': edge patch A -> B from B"),
    ("edge ablate L0H1 -> L1H2@END<3", "bad-node", 20, "L1H2 reads through q, k or v at one token: write L1H2.k@3"),
    ("edge keep circuit ioi", "bad-circuit", 18, "no circuit ioi: circuit list names them"),
    ("edge cut L0H1 -> U", "bad-argument", 5, "cut is of a circuit: edge cut circuit NAME, or edge ablate L0H1 -> L2H1.q"),
    ("edge ablate L0H1 -> L9H1.q", "bad-node", 20, None),
    ("edge ablate L0H1 -> U maen", "bad-mode", 22, None),
    ("edge ablate L0H1 -> U value 1e300", "not-finite", 5, None),
    ("edge ablate U -> M1", "bad-node", 12, None),
    ("path L0H1 -> L2H1.q, M0 -> U", "bad-argument", 21, "one path at a time: several senders or receivers are one word, as in L0H1,L0H2"),
    ("path L0H1,A0 -> U", "bad-edge", 5, "A0 and L0H1 write the same: name one of them as the sender"),
    ("path L0H1 -> L2H1.q@3,U@5", "bad-argument", 13, "all receivers of a path read at the same tokens: path L0H1 -> L2H1.q from B @END"),
    ("path M3 -> L2H1.q", "bad-edge", 5, "M3 does not come before L2H1.q: an edge goes down the pass"),
    ("path L0H1 -> L2H1.q from C", None, None, None),
)  # fmt: skip


@pytest.mark.parametrize(("line", "code", "col", "message"), BAD, ids=[line for line, *_ in BAD])
def test_what_cannot_be_is_said_in_one_sentence_and_leaves_the_stack(
    session: Session, line: str, code: str | None, col: int | None, message: str | None
) -> None:
    do(session, "ablate L1H1", "edge ablate L0H1 -> M2")
    before = session.snapshot, tuple(session.past)
    error = fail(session, line).error
    assert error is not None
    assert (session.snapshot, tuple(session.past)) == before
    assert code is None or (error.code, error.col) == (code, col)
    assert message is None or error.message == message
    assert not error.message.endswith(".") and "\n" not in error.message


def test_a_circuit_without_edges_and_one_of_another_prompt_are_refused(session: Session) -> None:
    do(session, "circuit add L0H1@END")
    error = fail(session, "edge keep circuit draft").error
    assert error is not None
    assert error.message == "circuit draft has no edges: circuit edge A -> B joins two of its nodes"
    do(session, *CIRCUIT, "prompt Mary went to")
    error = fail(session, "edge keep circuit draft").error
    assert error is not None and error.code == "other-prompt"


def test_a_prompt_that_is_too_short_for_an_edit_of_edges_is_refused(session: Session) -> None:
    for line in (
        "edge ablate L0H1@12 -> U, M0 -> U",
        "edge keep L0H1@12 -> U zero",
        "path L0H1@12 -> U zero",
        "path M0 -> U @12",
    ):
        do(session, "reset", line)
        error = fail(session, "prompt Mary and John went to").error
        assert error is not None and error.code == "bad-lengths" and "reaches token" in error.message
    do(session, "reset", "edge patch M0@3 -> U from B@12")
    error = fail(session, "prompt B Mary went to").error
    assert error is not None and "takes token 12" in error.message


def test_without_a_prompt_b_paths_are_ablated_and_patches_refused(engine: Engine) -> None:
    session = begin(engine, prompt_b=None)
    do(session, "path L0H1 -> U")
    assert str(change(session)) == "path L0H1@* -> U zero direct"
    for line in ("edge patch L0H1 -> U", "path L0H1 -> U from B", "edge keep none from B"):
        error = fail(session, line).error
        assert error is not None and error.code == "no-prompt-b"


def test_a_sweep_refuses_a_stack_with_paths_and_can_be_stopped(
    session: Session, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(session, "path L0H1 -> U")
    error = fail(session, "path all -> U").error
    assert error is not None and error.message.startswith("a sweep of paths is of a run without paths")
    do(session, "reset")
    before, ran = session.snapshot, engine.sites_run

    def stopping(site: Site, layer: int, x: Tensor) -> Tensor:
        engine.sites_run += 1
        if engine.sites_run > ran + 5:
            raise Interrupted
        return x

    monkeypatch.setattr(engine, "stop_here", stopping)
    # the run was read with the hook that it had
    engine.forget()
    for line in ("path all -> U mlps", "path L0H1 -> U"):
        done = execute(session, line)[-1]
        assert done.error is not None and done.error.code == "interrupted"
        assert engine.progress == "" and session.snapshot is before


DEMO = Path(__file__).parents[1] / "model" / "demo" / "gpt2-demo"


def test_paths_into_the_bundled_model_s_name_mover_measure_what_gradients_find() -> None:
    """Back from the head that moves the name: whoever feeds its query by gradient does so when patched."""
    prompt = "When Mary and John went to the store, {} gave a drink to"
    session = begin(load(DEMO), prompt.format("John"), prompt.format("Anna"))
    mover = do(session, "rank heads by direct @END -n 1").result["rows"][0]["node"].partition("@")[0]
    found = do(session, f"path all -> {mover}.q@END from B -n 0").result
    assert found["correlation"] > 0.8
    strongest = [row["sender"] for row in sorted(found["rows"], key=lambda row: -abs(row["estimate"]))]
    assert found["rows"][0]["sender"] in strongest[:2]
    for row in found["rows"][:2]:
        do(session, "reset")
        assert do(session, f"path {row['sender']} -> {mover}.q@END").result["delta"] == pytest.approx(
            row["effect"], abs=1e-3
        )
