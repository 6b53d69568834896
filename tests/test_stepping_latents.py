"""Lines stepped into while latents are swapped in: latents, the bias, what is left over, and that they add up."""

from pathlib import Path

import numpy as np
import pytest

from model.components import Kind
from model.sites import Site
from sae.autoencoder import Autoencoder
from sae.nonlinearities import Nonlinearity
from sae.normalization import Normalization
from tdb_tui.engine import Engine
from tdb_tui.scope import opened
from tdb_tui.session import Session
from tdb_tui.stepping import rows_inside
from tests.dictionaries import NONLINEARITIES, random_dictionary, write_dictionaries
from tests.sessions import END, SHAPE, begin, do, load, write_model

PLACES = {
    "outputs": (Site.ATTN_OUT, Site.MLP_OUT),
    "inside": (Site.Z, Site.MLP_POST),
}
EDITS = (
    "w",
    "ablate Fm1.{m}@END",
    "ablate Fm1.{{3,5,7}} scale 0.5",
    "ablate Xm1",
    "ablate BFm1 scale 2",
    "ablate M1",
    "ablate A1@3",
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("model")), "float64")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Dictionaries of every layer, at what sub-layers put out and inside of them, of several kinds."""
    kinds = list(enumerate(NONLINEARITIES.values()))
    return {
        name: write_dictionaries(
            tmp_path_factory.mktemp(name), (made(site, *kind) for site in sites for kind in kinds)
        )
        for name, sites in PLACES.items()
    }


def made(site: Site, layer: int, nonlinearity: Nonlinearity) -> Autoencoder:
    norm = Normalization.LAYER_NORM if layer == 1 else Normalization.NONE
    return random_dictionary((site, layer), SHAPE, nonlinearity=nonlinearity, normalization=norm)


@pytest.fixture(params=PLACES)
def session(engine: Engine, files: dict[str, Path], request: pytest.FixtureRequest) -> Session:
    found = begin(engine)
    do(found, f"set sae {files[request.param]}", "latents mlps", "latents heads")
    return found


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("pos", [END, 3])
def test_latents_bias_and_error_add_up_to_the_line(session: Session, edit: str, pos: int) -> None:
    letters = "pz" if (Site.Z, 0) in session.snapshot.now.trace.dictionaries else "ma"
    edit = edit.replace("m1", f"{letters[0]}1").format(m=5)
    do(session, edit, f"token @{pos}")
    for line in range(1, 1 + 2 * SHAPE.n_layer):
        do(session, f"j {line}")
        whole = do(session, "n").result
        do(session, f"j {line}", "s")
        rows = rows_inside(session.snapshot, line)
        parts = [do(session, "n").result for _ in range(rows - 1)]
        last, inside = do(session, "n").result, opened(session.snapshot, line)
        assert (last["line"], last["inside"]) == (whole["line"], None)
        assert inside.delta[:-1] == pytest.approx([part["delta"] for part in parts])
        assert inside.delta.sum() == pytest.approx(whole["delta"], abs=1e-9)
        assert inside.value[-1] == pytest.approx(whole["ld"], abs=1e-9)


def test_rows_are_those_of_the_table_the_largest_first(session: Session) -> None:
    asked = session.snapshot.asked
    letters = frozenset("mpaz")
    for line in (3, 4):
        inside = asked.inside(line, END, letters=letters)
        assert {part.kind for part in inside.parts} == {Kind.LATENT}
        site = inside.parts[0].site
        table = asked.table("latent", [END])
        here = [
            str(table.node(row).component)
            for row in range(len(table))
            if str(table.node(row).component)[1] == site
        ]
        totals = {str(table.node(row).component): abs(table.total[row]) for row in range(len(table))}
        own = [name for name in here if name.startswith(f"F{site}{inside.parts[0].layer}.")]
        assert len(inside.parts) + inside.rest == len(own)
        assert [str(part) for part in inside.parts] == sorted(own, key=lambda name: -totals[name])[:25]
        few = asked.inside(line, END, 3, letters)
        assert few.parts == inside.parts[:3] and few.rest == len(own) - 3
        assert few.delta.sum() == pytest.approx(inside.delta.sum(), abs=1e-9)


def test_what_is_left_over_is_nothing_in_substitution_mode(session: Session) -> None:
    letter = "p" if (Site.Z, 0) in session.snapshot.now.trace.dictionaries else "m"
    do(session, f"ablate X{letter}1")
    inside = session.snapshot.asked.inside(4, END, letters=frozenset(letter))
    row = inside.names.index(f"X{letter}1")
    assert abs(inside.delta[row]) < 1e-12
    assert np.abs(inside.delta).max() > 1e-3


def test_the_title_and_the_call_say_what_is_shown(session: Session) -> None:
    letter = "p" if (Site.Z, 0) in session.snapshot.now.trace.dictionaries else "m"
    reply = do(session, "j M1", "s")
    count = len(session.snapshot.asked.inside(4, END, letters=frozenset(letter)).parts)
    assert reply.lines[0].startswith(
        f"--Call-- M1, {count} latents of F{letter}1, its bias BF{letter}1 and what it"
    )
    do(session, "latents mlps")
    assert session.state.place.inside == 0
    assert do(session, "n").lines[0].startswith("N1.")
    assert do(session, "r", "rs", "w").lines[1].startswith("line 4 of 10: M1, row 26")


def test_at_a_token_with_fewer_latents_the_place_is_its_last_row(session: Session) -> None:
    do(session, "j M1", "s", "n 1000", "rs")
    line = session.state.place.line
    counts = {}
    for pos in range(END + 1):
        do(session, f"token @{pos}")
        counts[pos] = session.state.place.inside
        assert do(session, "l").lines and do(session, "p ld").result["value"] is not None
    assert line >= 0 and all(inside is None or inside >= 0 for inside in counts.values())


def test_an_opened_line_of_latents_is_saved_and_loaded(
    session: Session, engine: Engine, tmp_path: Path
) -> None:
    do(session, "j M1", "s", "n 3", f"save {tmp_path / 'it.json'}")
    other = begin(engine)
    do(other, f"load {tmp_path / 'it.json'}")
    assert other.state.place == session.state.place and other.state.place.inside == 3
    assert do(other, "l").lines == do(session, "l").lines
