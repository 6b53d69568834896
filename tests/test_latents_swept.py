"""Latents in sweeps and in `why not`: cells and sets are what the edits that they name make of the metric."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from model.sites import Site
from sae.nonlinearities import TopK
from tdb_tui.commands import registry
from tdb_tui.commands.sweep_words import read_sweep
from tdb_tui.engine import Engine
from tdb_tui.language.parsing import parse_line
from tdb_tui.session import Session
from tdb_tui.sweeps.latents import strongest
from tdb_tui.sweeps.values import Picture
from tests.dictionaries import random_dictionary, write_dictionaries
from tests.sessions import PROMPT, PROMPT_B, SHAPE, WORDS, begin, do, fail, load, write_model

LONGER = " then Mary and John went to the store, Anna gave a drink to"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("model")), "float64")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dictionary of every MLP's and every attention's output, and in one layer one that compares its latents."""
    places = product((Site.MLP_OUT, Site.ATTN_OUT), range(SHAPE.n_layer))
    made = (random_dictionary(at, SHAPE, nonlinearity=TopK(5) if at[1] == 2 else None) for at in places)
    return write_dictionaries(tmp_path_factory.mktemp("saes"), made)


@pytest.fixture
def session(engine: Engine, files: Path) -> Session:
    found = begin(engine)
    do(found, f"set sae {files}")
    return found


def swept(session: Session, line: str) -> Picture:
    do(session, line)
    assert session.sweep is not None
    return session.sweep


@pytest.mark.parametrize(
    "before", ["w", "ablate Fm1.5 ;; ablate L1H1", "latents mlps", f'prompt B "{LONGER}"']
)
@pytest.mark.parametrize(
    "line",
    [
        "patch latents --top 5",
        "ablate latents --top 5",
        "patch latents in M2,Fa1.7 --top 3",
        "ablate latents in Fa1.7,Fm2.3 scale 2",
    ],
)
def test_a_cell_is_what_its_command_makes_of_the_metric(session: Session, before: str, line: str) -> None:
    do(session, before)
    found = swept(session, f"sweep {line}")
    assert found.rows.name == "latent" and found.columns.name == "position"
    assert all(
        label.startswith("Fm" if before == "latents mlps" and "in" not in line else "F")
        for label in found.rows.labels
    )
    assert found.baseline == pytest.approx(session.snapshot.now.value, abs=1e-9)
    rows, columns = found.shape
    for at in {(row, (5 * row + 3) % columns) for row in range(rows)} | set(found.top(2)):
        assert found.commands[at[0]][at[1]]
        do(session, found.commands[at[0]][at[1]])
        assert session.snapshot.now.value == pytest.approx(found.values[at], abs=1e-9)
        do(session, "undo")


def test_the_strongest_are_those_of_the_ranking_or_of_attribution_patching(session: Session) -> None:
    ranked = do(session, "rank latents per component by total -n 6").result["rows"]
    found = swept(session, "sweep ablate latents --top 6")
    assert list(found.rows.labels) == [row["node"].partition("@")[0] for row in ranked]
    asked, other = session.snapshot.asked, session.snapshot.other
    assert other is not None

    (call,) = parse_line("sweep patch latents", registry.takes_value)
    chosen = strongest(session.snapshot, read_sweep(session, call), 4)
    scores: dict[str, float] = {}
    for at, dictionary in session.snapshot.now.trace.dictionaries.items():
        gradient = asked.gradients.post[at[1]] if at[0] is Site.MLP_OUT else asked.gradients.mid[at[1]]
        a, b = (dictionary.encode(run.trace[at]) for run in (session.snapshot.now, other))
        for latent, score in enumerate(((b - a) * (gradient @ dictionary.w_dec.T)).sum(0).tolist()):
            scores[f"F{'m' if at[0] is Site.MLP_OUT else 'a'}{at[1]}.{latent}"] = abs(score)
    assert [str(part) for part in chosen] == sorted(scores, key=lambda name: -scores[name])[:4]


def test_a_latent_that_only_b_has_is_patched_in(session: Session) -> None:
    found = swept(session, "sweep patch latents --top 30")
    now, other = session.snapshot.now, session.snapshot.other
    assert other is not None and session.state.inputs.prompt_b is not None
    assert session.state.inputs.prompt_b.text == PROMPT_B
    only_b = 0
    for label in found.rows.labels:
        site, layer, index = label[1], int(label[2]), int(label.partition(".")[2])
        at = (Site.MLP_OUT if site == "m" else Site.ATTN_OUT, layer)
        mine, theirs = (run.trace.dictionaries[at].encode(run.trace[at])[:, index] for run in (now, other))
        only_b += bool((mine == 0).all() and (theirs > 0).any())
        row = found.values[found.rows.labels.index(label)]
        np.testing.assert_array_equal(row[(mine == theirs).numpy()], found.baseline)
    assert only_b


def test_over_a_set_latents_keep_their_rows(session: Session, tmp_path: Path) -> None:
    rows = ({"prompt": prompt.strip(), "targets": [" Mary"]} for prompt in (PROMPT, LONGER))
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    do(session, f"prompts {tmp_path / 'set.jsonl'}")
    found = swept(session, "sweep ablate latents over prompts --top 3")
    assert found.many and len(found.rows) == 3 and not np.isnan(found.values).all()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("sweep patch latents in L1H2", "L1H2 is no latent: name latents or lines with an SAE, in Fm3.17,A2"),
        ("sweep ablate latents in Fm1.99", "Fm1.99 is out of range: its SAE has latents 0–63"),
        ("set sae none ;; sweep patch latents", "no SAE is loaded: set sae PATH, or start with --sae PATH"),
        ("set sae none ;; whynot latents", "no SAE is loaded: set sae PATH, or start with --sae PATH"),
    ],
)
def test_what_cannot_be_is_one_sentence(session: Session, line: str, complaint: str) -> None:
    error = fail(session, line).error
    assert error is not None and error.message == complaint


def answers_apart(session: Session) -> tuple[str, str]:
    """Lines that ask for two words of which A's run says one and B's the other."""
    now, other = session.snapshot.now, session.snapshot.other
    assert other is not None
    ids = {word: session.snapshot.tokenizer.resolve_single(word, "").id for word in WORDS}
    a, b = (run.logits(session.state.end) for run in (now, other))
    one, two = next(
        (one, two) for one in ids for two in ids if a[ids[one]] > a[ids[two]] and b[ids[one]] < b[ids[two]]
    )
    return f"target {one}", f"distractor {two}"


@pytest.mark.parametrize(
    ("before", "line", "kinds"),
    [
        ("w", "whynot latents errors", {"latent", "error"}),
        ("latents mlps", "whynot", {"latent", "error", "head"}),
        ("latents heads ;; latents mlps", "whynot per component", {"latent", "error"}),
        ("latents heads", "whynot latents @END", {"latent"}),
    ],
)
def test_why_not_chooses_among_latents(session: Session, before: str, line: str, kinds: set[str]) -> None:
    do(session, *answers_apart(session), before)
    value = session.snapshot.now.value
    result = do(session, f"{line} --limit 12").result
    assert result["rows"]
    found = {{"F": "latent", "X": "error", "L": "head"}[row["node"][0]] for row in result["rows"]}
    assert found <= kinds and result["before"] == pytest.approx(value)
    do(session, *(f"patch {row['node']} from B" for row in result["rows"]))
    assert session.snapshot.now.value == pytest.approx(result["after"], abs=1e-9)
