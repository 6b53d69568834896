"""Latents as nodes of trees and of circuits: added, joined, drawn, saved, evaluated."""

from pathlib import Path

import pytest

from model.sites import Site
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tests.dictionaries import random_dictionary, write_dictionaries
from tests.sessions import SHAPE, begin, do, fail, load, write_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("model")), "float64")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    places = (Site.MLP_OUT, 1), (Site.ATTN_OUT, 2), (Site.RESID_PRE, 2)
    made = (random_dictionary(at, SHAPE) for at in places)
    return write_dictionaries(tmp_path_factory.mktemp("saes"), made)


@pytest.fixture
def session(engine: Engine, files: Path) -> Session:
    found = begin(engine)
    do(found, f"set sae {files}")
    return found


def active(session: Session, letter: str, at: str = "END") -> list[str]:
    rows = do(session, f"rank latents @{at} -n 0").result["rows"]
    return [row["node"].partition("@")[0] for row in rows if row["node"].startswith(f"F{letter}")]


def value(session: Session, *lines: str) -> float:
    """The metric after edits, which are then taken back."""
    do(session, *lines)
    found = session.snapshot.now.value
    do(session, "reset")
    return found


def test_the_tree_has_latents_where_they_are_swapped_in(session: Session) -> None:
    do(session, "latents mlps")
    tree = do(session, "upstream -d 2 -n 30").result["tree"]
    kinds = {branch["node"][:2] for branch in tree["children"]}
    assert "Fm" in kinds
    opened = next(branch for branch in tree["children"] if branch["node"].startswith("Fm"))
    frame = do(session, f"upstream {opened['node']} -d 1 -n 3").result["tree"]
    ratios = {
        one["effect"] / other["effect"]
        for one, other in zip(opened["children"][:3], frame["children"], strict=True)
    }
    assert max(ratios) == pytest.approx(min(ratios)), "the branch is the latent's own frame, weighed"


def test_latents_are_nodes_and_ends_of_edges_and_are_in_files(session: Session, tmp_path: Path) -> None:
    latent, late = active(session, "m")[0], active(session, "a")[0]
    do(session, f"circuit add {latent}@END Xm1@END", f"circuit edge {latent}@END -> {late}@END")
    do(session, "circuit edge E@3 -> " + f"{late}@END", f"circuit edge {late}@END -> L3H1@END via q")
    shown = do(session, f"circuit show --out {tmp_path / 'it.dot'}").result
    row = next(row for row in shown["rows"] if row["node"] == f"{latent}@13")
    ranked = do(session, "rank latents @END -n 0").result["rows"]
    wanted = next(each for each in ranked if each["node"] == f"{latent}@13")
    assert (row["direct"], row["total"], row["act"]) == pytest.approx(
        (wanted["direct"], wanted["total"], wanted["act"])
    )
    assert latent in (tmp_path / "it.dot").read_text()
    do(session, f"circuit save {tmp_path / 'it.json'}", "circuit drop draft", "set sae none")
    do(session, f"circuit load {tmp_path / 'it.json'}")
    again = do(session, "circuit show").result
    assert [row["node"] for row in again["rows"]] == [row["node"] for row in shown["rows"]]
    assert next(row for row in again["rows"] if row["node"] == f"{latent}@13")["total"] is None


def test_a_trail_of_latents_is_kept(session: Session) -> None:
    latent = active(session, "a")[0]
    do(session, f"trace {latent}@END", "trace E@END", "circuit keep")
    assert do(session, "circuit show").result["edges"] == [
        {"from": f"{latent}@13", "to": "U@13", "via": None}
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("Fm1.3@END -> Fm1.4@END", "Fm1.3@13 and Fm1.4@13 are of one SAE: none of its parts reads another"),
        ("Fa2.3@END -> Fm1.4@END", "Fa2.3@13 does not come before Fm1.4@13: an edge goes down the pass"),
        ("M2@END -> Fa2.4@END", "M2@13 does not come before Fa2.4@13: an edge goes down the pass"),
        (
            "E@3 -> Fm1.4@END",
            "E@3 writes at token 3, Fm1.4@13 reads token 13: an edge joins them at one token",
        ),
        ("BFm1@END -> U@END", None),
        ("M1@END -> Fr2.4@END", None),
        ("E@3 -> BFm1@END", "BFm1@13 reads nothing: heads, attentions, MLPs, neurons, latents and U do"),
    ],
)
def test_edges_that_no_model_has_are_refused(session: Session, line: str, complaint: str | None) -> None:
    if complaint is None:
        do(session, f"circuit edge {line}")
    else:
        error = fail(session, f"circuit edge {line}").error
        assert error is not None and error.message == complaint


def test_a_circuit_of_everything_with_latents_for_an_mlp_keeps_everything(session: Session) -> None:
    do(session, "circuit add L*H*@* M{0,2,3}@* M1@0:12", "circuit add Xm1@END")
    for latent in active(session, "m"):
        do(session, f"circuit add {latent}@END")
    found = do(session, "circuit eval --ablate zero").result
    assert found["kept"] == pytest.approx(found["whole"], abs=1e-9)


def test_a_latent_keeps_itself_and_nothing_else_of_its_sae_at_its_token(session: Session) -> None:
    kept, *others = active(session, "m")
    do(session, f"circuit add L*H*@* M{{0,2,3}}@* M1@0:12 {kept}@END")
    found = do(session, "circuit eval --ablate zero").result
    away = [f"ablate {latent}@END" for latent in others]
    assert found["kept"] == pytest.approx(value(session, *away, "ablate Xm1@END"), abs=1e-9)
    pruned = do(
        session, f"circuit new few ;; circuit add L1H2@END {kept}@END ;; circuit prune 1e9 --ablate zero"
    ).result
    assert pruned["nodes"] == []


def test_attention_latents_keep_the_heads_at_their_token(session: Session) -> None:
    latent = active(session, "a")[0]
    do(session, f"circuit add L{{0,1,3}}H*@* {latent}@END Xa2@END")
    found = do(session, "circuit eval --ablate zero").result
    away = [f"ablate {other}@END" for other in active(session, "a") if other != latent]
    assert found["kept"] == pytest.approx(value(session, "ablate L2H*@0:12", *away), abs=1e-8)
