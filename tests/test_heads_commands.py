"""What a head is about and why it attends, from the command line: tokens, circuits by weights, scores, edges."""

from pathlib import Path

import numpy as np
import pytest

from model.about.heads import composition, ov, qk
from model.about.reads import Unit, promoted, top_tokens
from model.about.scores import row_scores
from model.components import Component, Kind
from tdb_tui.engine import Engine
from tdb_tui.language.arguments import one_node
from tdb_tui.language.parsing import Word
from tdb_tui.session import Session
from tdb_tui.tables.promoted import rare
from tests.sessions import END, SHAPE, begin, do, fail, load, said, write_model

HEAD = Component(Kind.HEAD, 2, 1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), "float64")


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return begin(engine)


# Tokens


def test_the_tokens_of_a_node_are_those_of_the_library_without_the_rare_ones(session: Session) -> None:
    run, node = session.snapshot.now, one_node(session.snapshot, Word("L2H1@END", 0))
    scores, exclude = promoted(run.model, run.trace, node), rare(session.snapshot)
    for options, left_out in (("", exclude), (" --all", None)):
        ends = top_tokens(scores, 7, left_out)
        answer = do(session, f"top L2H1@END out -n 7{options}").result
        assert [(row["id"], row["effect"]) for row in answer["up"]] == list(ends.top)
        assert [(row["id"], row["effect"]) for row in answer["down"]] == list(ends.bottom)
        assert answer["left_out"] == (0 if left_out is None else left_out.sum())
    assert answer == {**do(session, "top L2H1@END -n 7 --all").result}


def test_the_rule_that_leaves_tokens_out_is_said_and_taken_back(session: Session) -> None:
    count = int(rare(session.snapshot).sum())
    assert count > 0  # the bytes that UTF-8 never has
    for line in ("top L2H1@END", "drives N0.5@END", "ov L2H1", "qk L2H1"):
        assert f"{count} tokens that training has hardly seen are left out" in said(do(session, line))
        assert "left out: " not in said(do(session, f"{line} --all"))


def test_the_transformer_debuggers_score_stands_beside_the_logits(session: Session) -> None:
    run, node = session.snapshot.now, one_node(session.snapshot, Word("M1@END", 0))
    scores = promoted(run.model, run.trace, node, Unit.TDB)
    with_scores, without = (do(session, line).result for line in ("top M1@END --scores", "top M1@END"))
    for end in ("up", "down"):
        assert [row["score"] for row in with_scores[end]] == [scores[row["id"]] for row in without[end]]
        assert [row["effect"] for row in with_scores[end]] == [row["effect"] for row in without[end]]
        assert all("score" not in row for row in without[end])


def test_what_drives_a_node_is_asked_in_two_ways(session: Session) -> None:
    for node in ("N1.5@END", "L2H1@END<Mary", "L2H1@END", "M2@END"):
        assert do(session, f"top {node} in -n 5").result == do(session, f"drives {node} -n 5").result
    sides = [read["side"] for read in do(session, "drives L2H1@END<Mary").result["reads"]]
    assert sides == ["q", "k"]
    reply = do(session, "top N1.5@END in --scores")
    assert len(reply.warnings) == 1 and "adds none" in reply.warnings[0]


# Circuits by weights


@pytest.mark.parametrize(("name", "view"), [("ov", ov), ("qk", qk)])
def test_a_circuits_pairs_are_those_of_the_library(session: Session, name: str, view: object) -> None:
    model, exclude = session.snapshot.now.model, rare(session.snapshot)
    found = {"ov": ov, "qk": qk}[name](model, HEAD, pairs=2, count=10, exclude=exclude)
    answer = do(session, f"{name} L2H1 -n 2").result
    assert answer["score"] == found.score and answer["values"] == found.values.tolist()
    assert sum(row["share"] for row in answer["rows"]) < 1
    for row, pair in zip(answer["rows"], found.pairs, strict=True):
        assert row["value"] == pair.value
        for side, ends in (("read", pair.read), ("write", pair.write)):
            assert [(each["id"], each["effect"]) for each in row[side]["up"]] == list(ends.top)
            assert [(each["id"], each["effect"]) for each in row[side]["down"]] == list(ends.bottom)


def test_edits_and_prompts_do_not_change_what_a_head_does_by_its_weights(session: Session) -> None:
    for line in ("ov L2H1", "qk L2H1", "compose L2H1"):
        before = {**do(session, line).result, "copied": None}
        do(session, "ablate L2H1", "prompt Mary and John went to")
        assert {**do(session, line).result, "copied": None} == before
        do(session, "undo 2")


def test_composition_is_the_librarys_strongest_first_beside_chance(session: Session) -> None:
    found = composition(session.snapshot.now.model, HEAD)
    answer = do(session, "compose L2H1 -n 0").result
    assert answer["chance"] == found.chance and len(answer["rows"]) == 2 * SHAPE.n_head
    for row in answer["rows"]:
        at = row["layer"], row["index"]
        assert (row["q"], row["k"], row["v"]) == (found.query[at], found.key[at], found.value[at])
    best = [max(row["q"], row["k"], row["v"]) for row in answer["rows"]]
    assert best == sorted(best, reverse=True)
    keys = [row["k"] for row in do(session, "compose L2H1 k -n 3").result["rows"]]
    assert keys == sorted((row["k"] for row in answer["rows"]), reverse=True)[:3]


# Why a head attends


@pytest.mark.parametrize(
    "edit", ["w", "ablate M0@Mary", "ablate A0@3:9", "ablate E@END", "ablate L0H1 scale 2"]
)
@pytest.mark.parametrize(
    "line", ["why L2H1@END<Mary", "why L3H2@store", "why L2H1@END<Mary against John#2", "why L0H3@5<0"]
)
def test_the_books_of_a_score_balance_on_both_sides(session: Session, line: str, edit: str) -> None:
    do(session, edit)
    answer = do(session, f"{line} -n 0").result
    head = one_node(session.snapshot, Word(answer["node"], 0)).component
    scores = row_scores(session.snapshot.now.trace, head, answer["query"])
    others = np.delete(scores, answer["key"]) if answer["against"] is None else scores[[answer["against"]]]
    assert answer["score"] == pytest.approx(scores[answer["key"]], abs=1e-12)
    assert answer["rest"] == pytest.approx(others.mean(), abs=1e-12)
    assert answer["contrast"] == pytest.approx(answer["score"] - answer["rest"], abs=1e-12)
    for side in ("q", "k"):
        rows = [row for row in answer["rows"] if row["side"] == side]
        assert {row["pos"] for row in rows} == {answer["query"] if side == "q" else answer["key"]}
        assert sum(row["score"] for row in rows) == pytest.approx(answer["score"], abs=1e-9)
        assert sum(row["contrast"] for row in rows) == pytest.approx(answer["contrast"], abs=1e-9)
        sizes = [abs(row["contrast"]) for row in rows]
        assert sizes == sorted(sizes, reverse=True)
        for books in answer["balance"][side].values():
            assert books["rows"] + books["biases"] + books["rest"] == pytest.approx(books["sum"], abs=1e-12)
            assert abs(books["difference"]) < 1e-9


def test_few_rows_have_the_same_books(session: Session) -> None:
    few, every = (do(session, f"why L2H1@END -n {n}").result for n in (3, 0))
    assert [row for row in few["rows"] if row["side"] == "k"] == [
        row for row in every["rows"] if row["side"] == "k"
    ][:3]
    for side in ("q", "k"):
        for name, books in few["balance"][side].items():
            assert books["sum"] == every["balance"][side][name]["sum"]
            assert books["biases"] == every["balance"][side][name]["biases"]
            assert books["rest"] != 0 and every["balance"][side][name]["rest"] == pytest.approx(0, abs=1e-12)


def test_without_a_key_it_is_the_one_read_most(session: Session) -> None:
    pattern = session.snapshot.now.pattern(HEAD)
    answer = do(session, "why L2H1@8").result
    assert answer["key"] == pattern[8].argmax() and answer["attention"] == pattern[8].max()
    assert do(session, "why L2H1").result["query"] == END  # the token cursor


def test_the_querys_part_is_the_effect_of_tracing_through_it(session: Session) -> None:
    answer = do(session, "why L2H1@END<Mary -n 0").result
    for side in ("q", "k"):
        do(session, f"trace L2H1@END<Mary via {side}")
        effects = {
            row["node"]: row["direct"] for row in do(session, "rank all by direct -n 0").result["rows"]
        }
        for row in answer["rows"]:
            if row["side"] == side and row["kind"] in ("head", "mlp"):
                assert row["score"] == pytest.approx(effects[row["node"]], abs=1e-10)
        do(session, "up")


# Edges


@pytest.mark.parametrize(
    "trail", ["w", "trace L3H1@END<Mary via q", "trace M2@END", "set ln all", "set ln none"]
)
@pytest.mark.parametrize("node", ["L0H1@END", "E@END", "M1@END", "L1H2@END<Mary", "L0H0@3", "BM0@END"])
def test_edges_out_of_a_node_add_up_to_its_total_effect(session: Session, trail: str, node: str) -> None:
    do(session, trail)
    answer = do(session, f"feeds {node} -n 0").result
    books = answer["balance"]
    assert sum(row["edge"] for row in answer["rows"]) == pytest.approx(books["sum"], abs=1e-12)
    assert abs(books["difference"]) < 1e-9
    few = do(session, f"feeds {node} -n 2").result["balance"]
    assert few["rows"] + few["rest"] == pytest.approx(books["sum"], abs=1e-12)


@pytest.mark.parametrize("trail", ["w", "trace L3H2@END<John#1 via v", "set ln all"])
@pytest.mark.parametrize("via", ["q", "k", "v"])
def test_an_edge_seen_from_one_end_is_that_seen_from_the_other(
    session: Session, trail: str, via: str
) -> None:
    do(session, trail)
    into = do(session, f"feeds into L2H1@END via {via} -n 0").result
    assert into["input"] == f"L2H1.{via}@{END}"
    seen = {row["node"]: row["edge"] for row in into["rows"]}
    for node in ("L0H1", "L1H3", "M0", "M1", "E", "BA1"):
        out = do(session, f"feeds {node}@END -n 0").result["rows"]
        (edge,) = (row["edge"] for row in out if row["input"] == into["input"])
        assert edge == pytest.approx(seen[f"{node}@{END}"], abs=1e-12)
    assert not any(name.startswith(("L2", "M2", "L3")) for name in seen)


def test_edges_into_an_input_add_up_to_its_value_times_its_gradient_where_scales_are_held(
    session: Session,
) -> None:
    assert do(session, "feeds into M2@END").result["balance"]["target"] is None
    do(session, "set ln all")
    for line in ("M2@END", "L2H1@END via q", "L2H1@END<Mary via v", "N2.5@END", "L3H0@4 via k"):
        assert abs(do(session, f"feeds into {line} -n 0").result["balance"]["difference"]) < 1e-9
    assert do(session, "feeds into L2H1@END<Mary via v").result["input"] == "L2H1.v@1"


def test_the_edge_into_what_the_metric_reads_is_the_direct_effect_and_the_trees_first_branch(
    session: Session,
) -> None:
    into = do(session, "feeds into U@END -n 0").result
    assert into["balance"]["sum"] == pytest.approx(session.snapshot.now.value, abs=1e-9)
    seen = {row["node"]: row["edge"] for row in into["rows"]}
    direct = {
        row["node"]: row["direct"] for row in do(session, "rank all by direct @END -n 0").result["rows"]
    }
    assert seen == pytest.approx(direct, abs=1e-12)
    for branch in do(session, "upstream -d 1 -n 40").result["tree"]["children"]:
        out = do(session, f"feeds {branch['node']} -n 0").result["rows"]
        (edge,) = (row["edge"] for row in out if row["input"] == f"U@{END}")
        assert edge == pytest.approx(branch["effect"], abs=1e-12)


def test_in_a_frame_the_edge_into_it_is_the_direct_effect_on_it(session: Session) -> None:
    do(session, "trace L3H2@END<John#1 via q")
    direct = {
        row["node"]: row["direct"] for row in do(session, "rank heads by direct @END -n 0").result["rows"]
    }
    for node in ("L0H1", "L2H3"):
        rows = do(session, f"feeds {node}@END -n 0").result["rows"]
        (edge,) = (row["edge"] for row in rows if row["input"] == f"L3H2.q@{END}")
        assert edge == pytest.approx(direct[f"{node}@{END}"], abs=1e-12)
        assert not any(row["input"].startswith(("M3", "L3H0", "U")) for row in rows)


# The tree


def test_branches_have_ids_by_which_they_are_found_again(session: Session) -> None:
    tree = do(session, "upstream -d 3 -n 3").result["tree"]

    def walk(branch: dict[str, object]) -> None:
        children = branch["children"]
        assert isinstance(children, list)
        for at, child in enumerate(children):
            assert child["id"] == f"{branch['id']}.{at}"
            assert child["opens"] or not child["children"]
            walk(child)

    assert tree["id"] == "0" and tree["node"] is None
    walk(tree)
    deeper = do(session, "upstream -d 4 -n 3").result["tree"]
    at = tree
    for step in (0, 1, 0):
        at, deeper = at["children"][step], deeper["children"][step]
        assert (at["id"], at["node"], at["effect"]) == (deeper["id"], deeper["node"], deeper["effect"])
    assert at["opens"] == bool(deeper["children"])


def test_a_threshold_leaves_out_what_moves_the_root_less(session: Session) -> None:
    everything = do(session, "upstream -d 2 -n 30").result["tree"]["children"]
    limit = abs(everything[4]["effect"])
    kept = do(session, f"upstream -d 2 -n 30 --threshold {limit!r}").result["tree"]["children"]
    assert [branch["node"] for branch in kept] == [branch["node"] for branch in everything[:5]]
    assert all(abs(child["effect"]) >= limit for branch in kept for child in branch["children"])
    neurons = do(session, "upstream -d 1 -n 200 --neurons").result["tree"]["children"]
    assert any(branch["node"].startswith("N") for branch in neurons)
    assert not any(branch["node"].startswith("M") for branch in neurons)


# Wrong input


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ov", "ov of which head: ov L1H3"),
        ("qk M1", "M1 is no head: name one, as in L1H0"),
        ("ov L1H3 q", "unexpected 'q': ov takes 1 argument"),
        ("compose L0H1", "L0H1 is in the first layer: no head comes before it"),
        ("compose L2H1 qk", "unknown input 'qk': q, k or v"),
        ("top", "top of which node: top L1H3@END"),
        ("top L1H3@END inn", "unknown side 'inn': did you mean 'in'?"),
        ("top L1H3@END up", "unknown side 'up': in (what drives it) or out (what it promotes)"),
        ("top E@END in", "E cannot be traced: heads, neurons and MLPs can"),
        ("top U@END", "U puts nothing out that could be replaced"),
        ("why", "why which head: why L1H3@END<START"),
        ("why M1@END", "M1 attends to nothing: name a head, as in L1H0@END"),
        ("why L1H3@0", "query 0 sees no other key: ask about a later one"),
        ("why L1H3@3<2 against 5", "query 3 does not see token 5: it sees 0 to 3"),
        ("why L1H3@3<2 against 2", "key 2 cannot be compared with itself: name another"),
        ("why L1H3@3<2 agianst 1", "unexpected 'agianst': why L1H3@3<2 against KEY"),
        ("why L1H3@3<2 against 1 0", "unexpected '0': why L1H3@3<2 against KEY"),
        ("why L1H3@3<2 against", "against which key: why L1H3@3<2 against KEY"),
        ("feeds", "what feeds what: feeds L0H1@END, feeds into L2H1@END via q"),
        ("feeds BU@END", "BU is added after everything that reads: it has no edges"),
        ("feeds U@END", "U puts nothing out that could be replaced"),
        ("feeds into", "feeds into which input: feeds into L2H1@END via q"),
        ("feeds into L2H1@END", "L2H1 reads through q, k or v: name one, as in feeds into L2H1@END via q"),
        ("feeds into L2H1@END via qk", "L2H1 reads through q, k or v: name one, as in feeds into L2H1@END via q"),
        ("feeds into M1@END via q", "M1 has one input: only heads have q, k and v"),
        ("feeds into E@END", "E reads nothing: heads, MLPs, neurons and U do"),
        ("upstream --threshold x", "'x' isn't a number"),
        ("upstream --threshold -1", "threshold -1 is negative: it is the smallest effect of either sign"),
        ("upstream -n 0", "0 is too small: a number of rows is at least 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_said_and_changes_nothing(
    session: Session, line: str, message: str
) -> None:
    before = session.snapshot
    error = fail(session, line).error
    assert error is not None and error.message == message
    assert session.snapshot is before


def test_a_frame_is_read_before_the_unembedding(session: Session) -> None:
    do(session, "trace M2@END")
    error = fail(session, "feeds into U@END").error
    assert error is not None and error.message == "the frame is read before U: u goes back to the metric"


@pytest.mark.parametrize("line", ["feeds L0H1@END", "feeds into L2H1@END via q", "upstream"])
def test_long_answers_stop_when_interrupted(
    session: Session, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(session, "run")
    _ = session.snapshot.asked.target
    stop_here = session.engine.stop_here

    def stopping(*args: object) -> object:
        session.engine.interrupt.set()
        return stop_here(*args)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(session.engine, "stop_here", stopping)
    done = fail(session, line)
    assert done.interrupted
