"""Token-effect strips: each is a sum over the node table, and together with the biases they are the metric."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model.components import Component, Kind, Node
from model.edits.edges import Carried, EdgeChange
from model.edits.interventions import Ablate, Patch, Sources
from model.effects.attribution import head_matrices
from model.gpt2 import GPT2, wide
from model.nodes import NodeTable
from model.sites import Site, no_hook
from model.targets import Via, value_matrix
from model.trace import record
from tdb_tui.asked import Asked
from tdb_tui.engine import Engine
from tdb_tui.readings import Reading
from tdb_tui.session import Session
from tdb_tui.state import Frame
from tdb_tui.tables.strips import NAMES, By, strips
from tdb_tui.views.strips import levels, token_effects
from tests.naive import Naive
from tests.sessions import PROMPT, begin, do, fail, load, write_model
from tests.tiny import EDITS, END, L0H1, L1H2, L2H0, LAST, LD, M1, TINY, TOKENS

Floats = NDArray[np.float64]
MEASURES: tuple[By, ...] = ("total", "direct")
FRAMES = {
    "metric": (),
    "query": (Frame(Node(L2H0, END, 2), Via.Q),),
    "key": (Frame(Node(L2H0, END, 2), Via.K),),
    "value": (Frame(Node(L2H0, END), Via.V),),
    "mlp": (Frame(Node(M1, END)),),
}


def reading(model: GPT2, sources: Sources, edits: str = "none") -> Reading:
    return Reading(model, record(model, TOKENS, EDITS[edits], sources), LD, sources, no_hook)


def by_token(table: NodeTable, by: By, column: str = "pos") -> Floats:
    """A loop over the rows."""
    out = np.zeros(len(TOKENS))
    for row in range(len(table)):
        at = int(getattr(table, column)[row])
        if at >= 0:
            out[at] += getattr(table, by)[row]
    return out


def close(a: Floats | float, b: Floats | float) -> bool:
    return bool(np.allclose(a, b, rtol=1e-9, atol=1e-11))


@pytest.mark.parametrize("by", MEASURES)
@pytest.mark.parametrize("edits", EDITS)
def test_each_strip_is_the_sum_of_its_nodes_under_any_edit(
    tiny: GPT2, sources: Sources, edits: str, by: By
) -> None:
    asked = reading(tiny, sources, edits).asked()
    found, pairs = strips(asked, by), asked.table("pair")
    assert close(found.embed, by_token(asked.table("embed"), by))
    assert close(found.mlp, by_token(asked.table("neuron"), by))
    assert close(found.query, by_token(asked.table("head"), by))
    assert close(found.query, by_token(pairs, by))
    assert close(found.key, by_token(pairs, by, "key"))
    assert close(found.key.sum() + found.unpaired.sum(), found.query.sum())
    if by == "direct":
        assert close(found.sum, asked.value)


@pytest.mark.parametrize("frames", FRAMES)
def test_the_strips_of_a_frame_add_up_to_it(tiny: GPT2, sources: Sources, frames: str) -> None:
    asked = reading(tiny, sources).asked(FRAMES[frames])
    found = strips(asked, "direct")
    assert close(found.sum, asked.value)
    for by in MEASURES:
        assert close(strips(asked, by).key, by_token(asked.table("pair"), by, "key"))


def test_by_query_and_by_key_have_one_sum_where_no_head_is_edited(tiny: GPT2, sources: Sources) -> None:
    for by in MEASURES:
        found = strips(reading(tiny, sources).asked(), by)
        assert not found.unpaired.any()
        assert close(found.query.sum(), found.key.sum())
        assert not close(found.query, found.key)


@pytest.mark.parametrize("edits", ["head scale", "attn patch", "many"])
def test_what_an_edited_head_writes_has_no_key(tiny: GPT2, sources: Sources, edits: str) -> None:
    found = strips(reading(tiny, sources, edits).asked())
    assert found.unpaired.any()
    assert not close(found.query.sum(), found.key.sum())


def test_the_direct_strips_are_those_of_numpy_loops(tiny: GPT2, naive: Naive, sources: Sources) -> None:
    run = naive.run(TOKENS)
    up, down = ([naive.w["lm_head.weight"][t] for t in tokens] for tokens in (LD.targets, LD.distractors))
    direction = np.mean(up, axis=0) - np.mean(down, axis=0)
    gain, sigma = naive.w["ln_f.weight"], float(run["ln_final_scale", 0][END, 0])

    def effect(write: Floats) -> float:
        return float(((write - write.mean()) / sigma * gain) @ direction)

    expected = {name: np.zeros(len(TOKENS)) for name in NAMES}
    expected["embed"][END] = effect(run["embed", 0][END] + run["pos_embed", 0][END])
    for layer in range(TINY.n_layer):
        expected["mlp"][END] += sum(effect(write) for write in run.neurons[layer][:, END])
        for head in range(TINY.n_head):
            for key in range(END + 1):
                one = effect(run.pairs[layer][head, END, key])
                expected["query"][END] += one
                expected["key"][key] += one
    found = strips(reading(tiny, sources).asked(), "direct")
    for name, values in expected.items():
        assert close(getattr(found, name), values), name


def value_biases(asked: Asked, by: By) -> Floats:
    """Pair by pair: the attention times what the value's bias writes, along the gradient."""
    model, trace, gradients = asked.run.model, asked.run.trace, asked.gradients
    out = np.zeros(len(TOKENS))
    pairs = asked.table("pair")
    for row in range(len(pairs)):
        node = pairs.node(row)
        if node.key is None or pairs.write_norm[row] == 0:
            continue  # an edited head: its pairs write nothing
        part = node.component
        _, b_v = value_matrix(model, part)
        write = b_v @ head_matrices(model)[part.layer][part.index or 0]
        weight = wide(trace[Site.PATTERN, part.layer][part.index, node.pos, node.key])
        gradient = gradients.mid[part.layer] if by == "total" else gradients.direct
        out[node.key] += float(weight * (write @ gradient[node.pos]))
    return out


@pytest.mark.parametrize("by", MEASURES)
@pytest.mark.parametrize("edits", ["none", "head zero at some", "pair value"])
def test_the_value_biases_are_named_as_part_of_the_keys(
    tiny: GPT2, sources: Sources, edits: str, by: By
) -> None:
    asked = reading(tiny, sources, edits).asked()
    found = strips(asked, by)
    assert found.value_bias.any()
    assert close(found.value_bias, value_biases(asked, by))


def test_nothing_as_large_as_a_pair_row_is_made(
    tiny: GPT2, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = reading(tiny, sources).asked()
    monkeypatch.setattr("model.effects.attribution.pair_table", None)
    strips(asked)
    assert set(group for group, _ in asked._tables) == {"embed", "mlp", "head", "bias"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), "float64")


@pytest.fixture
def session(engine: Engine) -> Session:
    return begin(engine)


def test_the_command_says_what_the_strips_are(session: Session) -> None:
    do(session, "ablate L1H2 scale 2", "ablate A2@END")
    answer = do(session, "strips by direct")
    found = strips(session.snapshot.asked, "direct")
    for name in (*NAMES, "unpaired", "value_bias", "biases"):
        values = [row[name] for row in answer.result["rows"]]
        assert values == getattr(found, name).tolist()
        assert answer.result["sums"][name] == pytest.approx(sum(values), abs=1e-12)
    assert answer.result["sums"]["sum"] == pytest.approx(session.snapshot.now.value, abs=1e-9)
    assert [row["text"] for row in answer.result["rows"]][-1] == " to"
    assert "without edited heads" in answer.lines[-1]


@pytest.mark.parametrize("line", ["strips against base", "strips by direct against base", "strips against B"])
def test_strips_against_the_same_run_are_zero(engine: Engine, line: str) -> None:
    session = begin(engine, prompt_b=PROMPT)
    for row in do(session, line).result["rows"]:
        assert [row[name] for name in NAMES] == [0.0] * 4
    do(session, "trace L2H1@END<Mary via q")
    assert all(row["query"] == 0 == row["key"] for row in do(session, line).result["rows"])


@pytest.mark.parametrize(
    "other", [" Mary and John went to the store, Mary gave a drink to", " John gave Mary a drink to"]
)
def test_differences_against_b_add_up_to_the_difference_of_the_metrics(engine: Engine, other: str) -> None:
    session = begin(engine, prompt_b=other)
    answer = do(session, "strips by direct against B").result
    change = session.snapshot.now.value - session.snapshot.other.value  # pyright: ignore[reportOptionalMemberAccess]
    assert answer["sums"]["sum"] == pytest.approx(change, abs=1e-9)
    for name in NAMES:
        left, right = answer["left"]["sums"][name], answer["right"]["sums"][name]
        assert answer["sums"][name] == pytest.approx(left - right, abs=1e-12)
        assert sum(row[name] for row in answer["rows"]) == pytest.approx(left - right, abs=1e-12)


def test_a_token_without_a_partner_stands_alone(engine: Engine) -> None:
    session = begin(engine, prompt_b=" Anna gave a drink to")
    rows = do(session, "strips against B").result["rows"]
    alone = [row for row in rows if row["pos"] is None]
    assert [row["text"] for row in alone] == [" Anna"] and alone[0]["right_pos"] == 1
    store = next(row for row in rows if row["text"] == " store")
    assert store["right_pos"] is None
    own = do(session, "strips").result["rows"][store["pos"]]
    assert all(store[name] == own[name] for name in NAMES)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("strips heads", "unexpected 'heads': strips by direct, strips against B"),
        ("strips by act", "unknown measure 'act': total, direct"),
        ("strips with IO=1", "against what: strips against B"),
        ("strips against nope.run", "cannot read nope.run: no such file or directory"),
    ],
)
def test_what_strips_refuses(session: Session, line: str, message: str) -> None:
    error = fail(session, line).error
    assert error is not None and error.message == message


def test_the_view_shades_by_the_largest_of_each_strip(session: Session) -> None:
    view = token_effects(session.snapshot)
    assert [strip.name for strip in view.strips] == list(NAMES)
    found = strips(session.snapshot.asked)
    for strip in view.strips:
        assert strip.values == tuple(getattr(found, strip.name).tolist())
        assert strip.total == pytest.approx(sum(strip.values))
        assert max(map(abs, strip.levels)) == 4
        assert all(level * value >= 0 for level, value in zip(strip.levels, strip.values, strict=True))
    assert levels(np.array([0.0, 0.0])) == (0, 0)
    assert levels(np.array([-8.0, 1.0, 3.9, 8.0])) == (-4, 0, 2, 4)


L1H2V, UNEMBED = Component(Kind.V, 1, 2), Component(Kind.UNEMBED)
BY_EDGES = EdgeChange(
    (
        Carried(Ablate(L0H1), L1H2V),
        Carried(Ablate(L1H2, LAST), UNEMBED),
        Carried(Ablate(L0H1, LAST, key=1), M1),
    )
)


@pytest.mark.parametrize("by", MEASURES)
def test_edits_of_the_stream_have_a_strip_of_their_own(tiny: GPT2, sources: Sources, by: By) -> None:
    place = Patch(Component(Kind.RESID_MID, 1), LAST, LAST)
    asked = Reading(tiny, record(tiny, TOKENS, [place], sources), LD, sources, no_hook).asked()
    found, biases = strips(asked, by), asked.table("bias")
    rows = [row for row in range(len(biases)) if biases.component(row) == place.component]
    assert close(found.edits.sum(), float(getattr(biases, by)[rows].sum())) and found.edits[END]
    assert not found.edits[:END].any()
    assert found.names == (*NAMES, "edits")
    assert close(found.biases.sum() + found.edits.sum(), float(getattr(biases, by).sum()))
    if by == "direct":
        assert close(found.sum, asked.value)


@pytest.mark.parametrize("by", MEASURES)
def test_strips_respect_cut_edges(tiny: GPT2, sources: Sources, by: By) -> None:
    asked = Reading(tiny, record(tiny, TOKENS, [BY_EDGES], sources), LD, sources, no_hook).asked()
    found, pairs = strips(asked, by), asked.table("pair")
    assert close(found.query, by_token(pairs, by)) and close(found.query, by_token(asked.table("head"), by))
    assert close(found.key, by_token(pairs, by, "key"))
    if by == "direct":
        assert close(found.sum, asked.value)


def test_without_edits_of_the_stream_there_are_four(tiny: GPT2, sources: Sources) -> None:
    assert strips(reading(tiny, sources, "head mean").asked()).names == NAMES
