"""Circuit drafts: what is kept is what was traced, it is never lost unasked, and a file gives it back."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from textual.pilot import Pilot

from model.components import Component, Kind, Node
from model.targets import Via
from tdb_tui.app import TdbApp
from tdb_tui.circuits.drafts import ATTENDING, Circuit, Edge, impossible, reads
from tdb_tui.commands import execute
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tdb_tui.tables.listing import listing
from tdb_tui.views.listing import listing as listing_view
from tests.sessions import END, ODD, SHAPE, begin, do, fail, load, said, write_model
from tests.ui.screens import play, type_line
from tests.ui.screens import rows as screen_rows

STORE = 7
TRAIL = ("trace L3H2@END<John#1 via q", "trace L1H0@END<store via v", "trace M0@store")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    write_model(models / "random")
    write_model(models / "odd", ODD)
    return models


@pytest.fixture(scope="module")
def engine(models: Path) -> Engine:
    return load(models / "random")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def session(engine: Engine) -> Session:
    return begin(engine)


def held(session: Session) -> Circuit:
    assert session.state.draft is not None
    return session.state.draft


def content(circuit: Circuit) -> tuple[object, ...]:
    return circuit.name, circuit.prompt.tokens, circuit.nodes, circuit.edges


def test_a_trail_becomes_its_frames_and_what_each_was_traced_for(session: Session) -> None:
    do(session, *TRAIL)
    reply = do(session, "circuit keep ioi")
    assert reply.warnings == ()
    assert reply.result["nodes"] == [f"U@{END}", f"L3H2@{END}<3", f"L1H0@{END}<{STORE}", f"M0@{STORE}"]
    assert reply.result["edges"] == [
        {"from": f"L3H2@{END}<3", "to": f"U@{END}", "via": None},
        {"from": f"L1H0@{END}<{STORE}", "to": f"L3H2@{END}<3", "via": "q"},
        {"from": f"M0@{STORE}", "to": f"L1H0@{END}<{STORE}", "via": "v"},
    ]
    assert do(session, "circuit keep ioi").result == reply.result  # once is enough


def test_a_frame_that_the_one_before_does_not_read_is_a_node_without_an_edge(session: Session) -> None:
    do(session, "trace L3H2@END<John#1 via q", "trace N1.7@store")
    reply = do(session, "circuit keep")
    assert len(reply.result["edges"]) == 1 and f"N1.7@{STORE}" in reply.result["nodes"]
    assert reply.warnings == (
        f"no edge: N1.7@{STORE} writes at token {STORE}, L3H2@{END}<3 reads token {END} via q: an edge joins them at one token",
    )


def test_nodes_are_added_and_taken_out_with_their_edges(session: Session) -> None:
    do(
        session,
        "circuit new ioi",
        "circuit add L1H{0,2}@2:3 M0 E@Mary",
        "circuit edge M0@END -> L2H1@END via k",
    )
    assert len(held(session).nodes) == 7
    assert Node(Component(Kind.MLP, 0), END) in held(session).nodes  # the token cursor's
    do(session, "circuit add M0@END")
    assert len(held(session).nodes) == 7
    do(session, "circuit rm M0@END")
    assert held(session).edges == () and len(held(session).nodes) == 6
    do(session, "circuit add M*@*")
    assert len(held(session).nodes) == 6 + 4 * (END + 1)


def test_an_edge_is_taken_out_by_its_ends_or_by_its_input(session: Session) -> None:
    for via in ("q", "k", "v"):
        do(session, f"circuit edge M0@END -> L2H1@END via {via}")
    do(session, "circuit rm M0@END -> L2H1@END via k")
    assert [edge.via for edge in held(session).edges] == [Via.Q, Via.V]
    do(session, "circuit rm M0@END->L2H1@END")
    assert held(session).edges == () and len(held(session).nodes) == 2
    assert held(session).name == "draft"


PARTS = [
    Component(Kind.EMBED),
    Component(Kind.UNEMBED),
    Component(Kind.FINAL_BIAS),
    *(Component(kind, layer) for kind in (Kind.ATTN, Kind.MLP, Kind.ATTN_BIAS) for layer in (0, 2)),
    *(Component(kind, layer, 1) for kind in (Kind.HEAD, Kind.NEURON) for layer in (0, 1, 2)),
]
NODES = st.builds(Node, st.sampled_from(PARTS), st.integers(0, 4)).flatmap(
    lambda node: (
        st.just(node)
        if node.component.kind is not Kind.HEAD
        else st.builds(
            Node, st.just(node.component), st.just(node.pos), st.one_of(st.none(), st.integers(0, node.pos))
        )
    )
)


@given(NODES, NODES, st.sampled_from([None, *Via]))
def test_an_edge_goes_down_the_pass_and_joins_its_ends_at_a_token(
    tail: Node, head: Node, via: Via | None
) -> None:
    if impossible(Edge(tail, head, via), 3):
        return
    assert tail.pos in reads(head, via) and tail.pos <= head.pos
    assert tail.component != head.component
    assert impossible(Edge(head, tail), 3)
    assert tail.pos == head.pos or head.component.kind in ATTENDING
    assert via is None or head.component.kind is Kind.HEAD


def test_show_has_the_nodes_effects_in_this_run(session: Session) -> None:
    do(session, *TRAIL, "circuit keep ioi")
    do(session, "ablate L0H1", "circuit show")
    rows = do(session, "circuit show").result["rows"]
    assert (rows[0]["node"], rows[0]["direct"]) == (f"U@{END}", None)
    for row in rows[1:]:
        value = do(session, f"p {row['node']}").result["value"]
        assert (row["direct"], row["total"], row["act"]) == (value["direct"], value["total"], value["act"])


def test_lines_of_the_circuit_are_marked_and_no_others(session: Session) -> None:
    do(session, "b A1", "ablate L1H2")
    before = [row.marks for row in listing(session.snapshot)]
    assert not any("C" in marks for marks in before)
    do(session, "circuit new ioi", "circuit add L1H2@3 M2@END U@END")
    rows, view = listing(session.snapshot), listing_view(session.snapshot).rows
    assert [row.name for row in rows if "C" in row.marks] == ["A1", "M2", "U"]
    assert [row.name for row in view if row.circuit] == ["A1", "M2", "U"]
    assert [row.marks.replace("C", "") for row in rows] == before
    do(session, "j A1 ;; s")
    assert [row.name for row in listing(session.snapshot) if "C" in row.marks and row.opened] == ["L1H2"]
    do(session, "circuit new empty")
    assert not any("C" in row.marks for row in listing(session.snapshot))
    do(session, "circuit use ioi", "prompt Mary went to the store")
    assert not any("C" in row.marks for row in listing(session.snapshot))


def test_the_screen_marks_the_lines_of_the_circuit() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        def marked() -> list[str]:
            rows = (re.match(r".{2}(\d+| \d)(.)(?:->|>>|  )[ *]([AEMU]\d*)", row) for row in screen_rows(app))
            return [row[3] for row in rows if row and row[2] == "C"]

        assert marked() == []
        await type_line(app, pilot, "circuit add L1H2@3 M2@END")
        assert marked() == ["A1", "M2"]
        await type_line(app, pilot, "circuit drop draft --force")
        assert marked() == []

    play(body)


def test_another_prompt_leaves_a_circuit_as_it_was_and_adds_nothing_to_it(session: Session) -> None:
    do(session, "circuit new ioi", "circuit add L1H2@9", 'prompt " Mary went"')
    before = held(session)
    for line in ("circuit add L0H0@END", "circuit rm L0H0@0", "circuit edge E@0 -> M0@0"):
        error = fail(session, line).error
        assert error is not None
        assert error.message == "circuit ioi is of another prompt: circuit new NAME begins one for this"
    reply = do(session, "circuit show")
    assert reply.result["rows"][0]["direct"] is None and "L1H2@9" in said(reply)
    assert reply.warnings == ("circuit ioi is of another prompt: its nodes have no effects here",)
    do(
        session,
        "circuit new other",
        "circuit add L0H0@END",
        "undo",
        "circuit use ioi",
        "circuit add L0H0@END",
    )
    assert held(session).nodes[0] == before.nodes[0] and len(held(session).nodes) == 2


def test_quitting_with_a_circuit_in_no_file_would_lose_something(session: Session) -> None:
    assert session.saved
    do(session, "circuit new ioi")
    assert session.saved  # nothing is in it yet
    do(session, "circuit add L1H2@3")
    assert not session.saved
    do(session, "circuit save ioi.json")
    assert session.saved
    do(session, "circuit edge L1H2@3 -> M1@3")
    assert not session.saved
    do(session, "save")
    assert session.saved
    do(session, "ablate L0H0")
    assert not session.saved
    do(session, "circuit save ioi.json")
    assert not session.saved


def test_nothing_takes_a_circuit_away_unasked(session: Session, engine: Engine) -> None:
    do(session, "save before.json", "circuit new ioi", "circuit add L1H2@3", "circuit save ioi.json")
    saved = held(session)
    do(session, "circuit add M2@3")
    unsaved = held(session)
    for line in ("circuit drop ioi", "circuit load ioi.json", "circuit new ioi"):
        assert fail(session, line).error is not None
        assert held(session) == unsaved
    do(session, "undo" if session.past else "w", "reset", "run", "load before.json")
    assert held(session) == unsaved
    other = begin(engine)
    do(other, "circuit new ioi", "circuit add L3H3@1", "save other.json")
    error = fail(session, "load other.json").error
    assert error is not None
    assert error.message == "circuit ioi here is in no file and would be lost: circuit save FILE first"
    assert held(session) == unsaved
    do(session, "circuit drop ioi --force", "circuit load ioi.json")
    assert held(session) == saved


def test_dropping_leaves_the_others(session: Session) -> None:
    do(session, "circuit new a", "circuit new b", "circuit new c", "circuit use a", "circuit drop b")
    assert [circuit.name for circuit in session.state.circuits] == ["a", "c"] and session.state.circuit == "a"
    do(session, "circuit drop a")
    assert session.state.circuit == "c"
    do(session, "circuit drop c")
    assert session.state.circuits == () and session.state.circuit == ""
    assert said(do(session, "circuit")) == "No circuits: circuit new NAME begins one"


LINES = st.lists(
    st.sampled_from([
        "circuit add L1H2@3 M0@1:4", "circuit add L2H1@END<John#2", "circuit edge E@3 -> L1H2@3 via v", "circuit rm M0@2",
        "circuit edge L1H2@3 -> U@3", "circuit keep", "trace L2H1@END via v", "circuit new b", "circuit use b",
        'prompt " Anna went to the store"', "undo", "ablate M1", "circuit new ioi_2.x",
    ]),
    max_size=10,
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES)
def test_files_sessions_and_scripts_give_every_circuit_back(engine: Engine, lines: list[str]) -> None:
    session = begin(engine)
    for line in lines:
        execute(session, line)
    do(session, "save it.json", "export it.tdb")
    for how in ("load it.json", "source it.tdb"):
        again = begin(engine, " John gave a drink to", None, bos=False)
        do(again, how)
        assert list(map(content, again.state.circuits)) == list(map(content, session.state.circuits))
        assert again.state.circuit == session.state.circuit
    for circuit in session.state.circuits:
        do(session, f"circuit use {circuit.name}", f"circuit save {circuit.name}.json")
        again = begin(engine, " John gave a drink to", None, bos=False)
        do(again, f"circuit load {circuit.name}.json")
        assert content(held(again)) == content(circuit)


def test_a_drawing_names_what_the_metric_reads_and_every_edge(session: Session) -> None:
    do(session, *TRAIL, "circuit keep ioi", "circuit show --out c.dot", "circuit show --out c.json")
    dot = Path("c.dot").read_text()
    assert dot.startswith('digraph "ioi" {\n') and dot.count(" -> ") == 3
    assert f"\"U@{END}\" [label=\"' Mary' - ' John' @END\"];" in dot
    assert f'"L1H0@{END}<{STORE}" -> "L3H2@{END}<3" [label="q"];' in dot
    assert json.loads(Path("c.json").read_text())["edges"] == do(session, "circuit show").result["edges"]


def test_a_file_says_what_it_is(session: Session) -> None:
    do(session, *TRAIL, "circuit keep ioi", "circuit save c.json")
    data = json.loads(Path("c.json").read_text())
    assert (data["schema"], data["name"], data["model"]["name"]) == ("tdb-circuit/1", "ioi", "random")
    assert data["tokens"][1] == " Mary" and data["prompt"]["bos"] is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c.json isn't a tdb-tui circuit: it is not JSON"),
        ("[" * 100_000, "c.json isn't a tdb-tui circuit: it is not JSON"),
        ("[]", 'c.json isn\'t a tdb-tui circuit: missing "schema" (expected "tdb-circuit/1")'),
        ('{"schema": "tdb-session/1"}', "c.json is tdb-session/1: this version reads tdb-circuit/1"),
        ('{"schema": "tdb-circuit/1"}', "c.json is damaged: it has no model"),
    ],
)
def test_what_is_no_circuit_is_refused_in_a_sentence(session: Session, text: str, message: str) -> None:
    Path("c.json").write_text(text)
    error = fail(session, "circuit load c.json").error
    assert error is not None and error.message == message


def test_a_circuit_of_another_model_is_refused(session: Session, models: Path) -> None:
    do(
        session,
        "circuit add L0H1@2 L3H3@1 M3@4",
        "circuit edge L0H1@2 -> M1@2",
        "circuit save c.json",
        "save s.json",
    )
    other = begin(load(models / "odd"))
    error = fail(other, "circuit load c.json").error
    assert (
        error is not None and error.message == "circuit is for random, this is odd: load it beside that model"
    )
    do(other, "load s.json --force")  # keeps what still fits
    assert [str(node) for node in held(other).nodes] == ["L0H1@2", "M1@2"] and len(held(other).edges) == 1


DAMAGES = (
    None,
    -1,
    10**9,
    "x",
    [],
    {},
    [None],
    True,
    "\ud800",
    "L9H9",
    "L0H1@99",
    "L0H1@2<3",
    "M1@3<2",
    "F1.2@3",
    "U@-1",
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, item in inner for place in places(item, (*at, key)))]


@pytest.mark.parametrize(("file", "line"), [("c.json", "circuit load c.json"), ("s.json", "load s.json")])
def test_a_damaged_circuit_is_refused_or_read_and_never_breaks(engine: Engine, file: str, line: str) -> None:
    session = begin(engine)
    do(session, *TRAIL[:2], "circuit keep ioi", "circuit save c.json", "save s.json")
    whole = Path(file).read_text()
    probe = begin(engine)
    part = ("name", "prompt", "nodes", "edges") if file == "c.json" else ("circuits", "circuit")
    here = [place for place in places(json.loads(whole))[1:] if place[0] in part]
    for place in here:
        for damage in DAMAGES:
            data = json.loads(whole)
            parent = data
            for key in place[:-1]:
                parent = parent[key]
            parent[place[-1]] = damage
            Path(file).write_text(json.dumps(data))
            before = probe.snapshot
            done = execute(probe, line)[-1]
            if done.error is not None:
                assert probe.snapshot is before and "\n" not in done.error.message, place
                continue
            do(probe, "circuit", "circuit list", "l")  # what was let through works
            probe = begin(engine)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("circuit ad L1H2", "circuit has no 'ad': did you mean 'add'?"),
        ("circuit evil", "circuit has no 'evil': did you mean 'eval'?"),
        ("circuit new", "new which circuit: circuit new NAME"),
        ("circuit new a b", "unexpected 'b': a name is one word"),
        ("circuit new ../x", "'../x' cannot be a name: up to 40 letters, digits, - _ and ."),
        ("circuit new ioi", "there is a circuit ioi already: circuit use ioi, or take another name"),
        ("circuit use ioj", "no circuit ioj: did you mean 'ioi'?"),
        ("circuit use zzz", "no circuit zzz: circuit list names them"),
        ("circuit drop", "drop which circuit: circuit drop NAME"),
        ("circuit drop ioi", "circuit ioi is in no file: circuit save FILE first, or circuit drop ioi --force"),
        ("circuit add", "add which nodes: circuit add L1H3@END"),
        ("circuit add L9H9@END", "no head L9H9: random has heads 0–3 in layers 0–3"),
        ("circuit add F1.3", "no SAE loaded for layer 1: start with --sae PATH or use 'set sae PATH'"),
        ("circuit add N0.{" + ",".join(map(str, range(128))) + "},N1.{" + ",".join(map(str, range(128))) + "}@*",
         None),
        ("circuit rm L0H3@3", "L0H3@3 is not in circuit ioi: circuit show lists its nodes"),
        ("circuit rm", "rm which nodes: circuit rm L1H3@END"),
        ("circuit rm E@2 -> L1H2@2", "circuit ioi has no edge E@2 -> L1H2@2: circuit show lists its edges"),
        ("circuit edge L0H1@END", "edge needs two nodes: circuit edge L0H1@END -> L2H1@END via q"),
        ("circuit edge", "edge needs two nodes: circuit edge L0H1@END -> L2H1@END via q"),
        ("circuit edge L0H1@3 -> L2H1@3 via x", "unknown input 'x': q, k, qk or v"),
        ("circuit edge L0H1@3 -> M2@3 via q", "M2 has one input: only heads have q, k and v"),
        ("circuit edge L2H1@3 -> L0H1@3", "L2H1@3 does not come before L0H1@3: an edge goes down the pass"),
        ("circuit edge M0@3 -> BM1@3", "BM1@3 reads nothing: heads, attentions, MLPs, neurons, latents and U do"),
        ("circuit edge M0@3 -> M1@4", "M0@3 writes at token 3, M1@4 reads token 4: an edge joins them at one token"),
        ("circuit edge M0@5 -> L1H1@4 via k",
         "M0@5 writes at token 5, L1H1@4 reads tokens 0 to 4 via k: an edge joins them at one token"),
        ("circuit keep", "there is no trail to keep: trace a node first"),
        ("circuit save", "save to which file: circuit save ioi.json"),
        ("circuit save c.dot", "a .dot file cannot be loaded again: save c.json, or circuit show --out c.dot"),
        ("circuit load", "load which file: circuit load ioi.json"),
        ("circuit load nope.json", "cannot read nope.json: no such file or directory"),
        ("circuit show more", "unexpected 'more': circuit takes 1 argument"),
        ("circuit add L1H2 --force", "--force goes with drop: circuit drop NAME --force"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_and_changes_nothing(
    session: Session, line: str, message: str | None
) -> None:
    do(session, "circuit new ioi", "circuit add L1H2@2")
    before = session.snapshot
    error = fail(session, line).error
    assert error is not None and session.snapshot is before
    assert message is None or error.message == message
    assert "\n" not in error.message


def test_without_a_circuit_there_is_nothing_to_show(session: Session) -> None:
    for line in ("circuit show", "circuit rm L0H1@2", "circuit save c.json"):
        error = fail(session, line).error
        assert error is not None and error.message == "no circuit yet: circuit new NAME begins one"


def test_a_circuit_holds_a_draft_and_not_the_model(session: Session) -> None:
    do(session, "circuit new big")
    lines = [f"circuit add N{layer}.{n}@*" for layer in range(SHAPE.n_layer) for n in range(40)]
    done = [execute(session, line)[-1] for line in lines]
    error = next(each.error for each in done if each.error is not None)
    assert "are too many: a circuit holds up to 2000" in error.message
    assert len(held(session).nodes) == 2000 // (END + 1) * (END + 1)


def test_several_nodes_stand_in_one_word(session: Session) -> None:
    do(
        session,
        "circuit new a",
        "circuit add L0H1@END,L1H2@Mary,M0",
        "circuit new b",
        "circuit add L0H1@END L1H2@Mary M0",
    )
    a, b = session.state.circuits
    assert a.nodes == b.nodes and len(a.nodes) == 3
    do(session, "circuit rm L0H1@END,M0")
    assert len(session.state.circuits[1].nodes) == 1
