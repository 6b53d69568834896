"""Latents in the debugger: loaded, ranked in the place of other parts, edited, traced, looked at."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from model.dictionaries import LETTER_OF
from model.sites import Site
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tests.dictionaries import random_dictionary, write_dictionaries
from tests.sessions import SHAPE, begin, fail, load, write_model
from tests.sessions import do as say


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dictionary of every MLP's and every attention's output."""
    places = product((Site.MLP_OUT, Site.ATTN_OUT), range(SHAPE.n_layer))
    made = (random_dictionary(at, SHAPE) for at in places)
    return write_dictionaries(tmp_path_factory.mktemp("saes"), made)


@pytest.fixture
def session(engine: Engine, files: Path) -> Session:
    found = begin(engine)
    say(found, f"set sae {files}")
    return found


def complaint_of(session: Session, line: str) -> str:
    error = fail(session, line).error
    return "" if error is None else error.message


def test_loading_says_how_each_does_on_the_prompt_and_can_be_undone(engine: Engine, files: Path) -> None:
    session = begin(engine)
    before = session.snapshot.now.value
    rows = say(session, f"set sae {files}").result["saes"]
    assert [row["place"] for row in rows][:2] == ["mlp_out.0", "attn_out.0"]
    assert all(0 < row["l0"] < row["latents"] for row in rows)
    assert session.snapshot.now.value == before
    say(session, "undo")
    assert session.state.inputs.saes == ()
    assert complaint_of(session, "ablate F1.2") == (
        "no SAE loaded for layer 1: start with --sae PATH or use 'set sae PATH'"
    )


@pytest.mark.parametrize("swaps", [(), ("mlps",), ("heads",), ("mlps", "heads")])
@pytest.mark.parametrize("words", ["all", "components", "parts", "latents"])
def test_books_balance_whatever_stands_for_what(session: Session, swaps: tuple[str, ...], words: str) -> None:
    for side in swaps:
        say(session, f"latents {side}")
    result = say(session, f"rank {words} -n 0").result
    books = result["balance"]
    assert abs(books["difference"]) < 1e-4 * (1 + abs(books["target"]))
    kinds = {row["kind"] for row in result["rows"]}
    assert ("latent" in kinds) == (bool(swaps) or words == "latents")
    if words == "all":
        assert abs(books["rest"]) < 1e-4 * (1 + abs(books["target"]))
        assert ("mlp" in kinds) == ("mlps" not in swaps) and ("head" in kinds) == ("heads" not in swaps)


def test_a_latent_is_ablated_steered_traced_and_shown_by_any_spelling(session: Session) -> None:
    row = say(session, "rank latents @END -n 1").result["rows"][0]
    name = row["node"].partition("@")[0]
    assert row["measured"] is not None
    result = say(session, f"ablate {name}@END").result
    assert result["delta"] == pytest.approx(-row["measured"], abs=1e-4)
    say(session, "undo")
    result = say(session, f"steer {name}@END = {row['act']}").result
    assert result["delta"] == pytest.approx(0, abs=1e-4)
    say(session, "undo")
    result = say(session, f"trace {name}@END").result
    assert result["frame"]["number"] == 1 and abs(result["balance"]["difference"]) < 1e-4
    page = say(session, f"latent {name} -n 3").result
    assert {each["pos"]: each["act"] for each in page["active"]}[13] == pytest.approx(row["act"])
    assert len(page["decoder_neighbours"]) == 3 and page["up"]


def test_what_dictionaries_in_place_cost_the_prompt_is_said(session: Session, files: Path) -> None:
    rows = say(session, f"set sae {files}").result["saes"]
    shares = {row["place"]: row["ce_recovered"] for row in rows}
    one = say(session, "ablate Xm1")
    assert one.result["cross_entropy"]["recovered"] == pytest.approx(shares["mlp_out.1"])
    assert one.lines[1].startswith("    Fm1 in place: the prompt's cross-entropy ")
    both = say(session, "ablate Xa0@0:13").result["cross_entropy"]
    tokens = session.state.inputs.prompt.tokens

    def loss() -> float:
        now = session.snapshot.now
        of = (-np.log(softmax(now.logits(pos))[tokens[pos + 1]]) for pos in range(len(tokens) - 1))
        return float(np.mean([*of]))

    say(session, "undo 2")
    assert both["clean"] == pytest.approx(loss(), abs=1e-5)
    say(session, "ablate Xa0,Xm1@1:13")  # the first token is left out
    assert both["spliced"] == pytest.approx(loss(), abs=1e-5)
    say(session, "undo", "ablate A0,M1@1:13")
    assert both["zero"] == pytest.approx(loss(), abs=1e-5)
    assert "cross_entropy" not in say(session, "ablate Xm2@END").result


@pytest.mark.parametrize("frame", ["w", "trace Fa2.26@END"])
def test_latents_of_prompt_b_stand_beside_those_of_this_one(session: Session, frame: str) -> None:
    """As they are in its own run, found by exchanging the two."""
    say(session, frame)
    rows = say(session, "compare latents -n 0").result["rows"]
    say(session, "swap", frame)
    there = {row["node"]: row for row in say(session, "rank latents -n 0").result["rows"]}
    both = [row for row in rows if row["left"] and row["right"]]
    assert len(both) > 100
    for row in both[::20]:
        for measure in ("act", "total", "direct"):
            assert row[f"{measure}_right"] == pytest.approx(there[row["right"]][measure], abs=1e-4)


@pytest.mark.parametrize("line", ["set sae none", "undo"])
def test_frames_of_latents_go_with_their_dictionary(engine: Engine, files: Path, line: str) -> None:
    found = begin(engine)
    say(found, f"set sae {files}", "trace M3@END", "trace Fa2.26@END", "trace L0H1@END", "u")
    assert (len(found.state.frames), found.state.frame) == (3, 2)
    say(found, line)
    assert [str(frame.node.component) for frame in found.state.frames] == ["M3"] and found.state.frame == 1
    say(found, "rank", "upstream", "w")


def test_a_latent_without_a_letter_is_the_mlp_outputs(session: Session) -> None:
    assert say(session, "ablate F2.5").result["intervention"]["command"] == "ablate Fm2.5@* zero"
    assert LETTER_OF[Site.MLP_OUT] == "m"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("ablate Fm2.64", "Fm2.64 is out of range: its SAE has latents 0–63"),
        ("ablate Fz2.6", "no SAE loaded for layer 2: start with --sae PATH or use 'set sae PATH'"),
        ("latents stream", "no SAE of resid_pre or resid_mid or resid_post is loaded: set sae PATH"),
        ("latents mlp", "latents of 'mlp': did you mean 'mlps'?"),
        ("latent L1H2", "L1H2 is no latent: write Fm3.17"),
        ("set sae /nowhere", "/nowhere does not exist"),
        ("ablate Fm1.2 ;; set sae none", "i1 edits what an SAE has: delete i1 first"),
    ],
)
def test_what_cannot_be_is_one_sentence(session: Session, line: str, complaint: str) -> None:
    first, _, second = line.partition(" ;; ")
    if second:
        say(session, first)
    assert complaint_of(session, second or first) == complaint


def test_a_session_with_saes_is_saved_and_loaded(session: Session, engine: Engine, tmp_path: Path) -> None:
    say(session, "ablate Fm1.3@END")
    value = session.snapshot.now.value
    say(session, f"save {tmp_path / 'it.json'}")
    other = begin(engine)
    say(other, f"load {tmp_path / 'it.json'}")
    assert other.state.inputs.saes == session.state.inputs.saes
    assert other.snapshot.now.value == pytest.approx(value, abs=1e-6)


def test_a_script_loads_the_saes_again(session: Session, engine: Engine, files: Path, tmp_path: Path) -> None:
    say(session, "ablate Fm1.3@END")
    value = session.snapshot.now.value
    script = tmp_path / "it.tdb"
    say(session, f"export {script}")
    other = begin(engine)
    say(other, f"source {script}")
    assert other.snapshot.now.value == pytest.approx(value, abs=1e-6)
    assert other.state.inputs.saes == session.state.inputs.saes


def test_over_a_set_latents_are_ranked_where_they_are_asked_for(session: Session, tmp_path: Path) -> None:
    row = {"prompt": "When Mary and John went to the store, John gave a drink to", "targets": [" Mary"]}
    (tmp_path / "set.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    say(session, f"prompts {tmp_path / 'set.jsonl'}", "latents mlps")
    reply = say(session, "over rank mlps by direct")
    assert reply.warnings == (
        "over a set latents take nobody's place: over rank latents lays them over each other",
    )
    rows = say(session, "over rank latents by direct -n 0")
    assert rows.warnings == () and all(row["row"].startswith("F") for row in rows.result["rows"])
