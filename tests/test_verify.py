"""`verify`: that right numbers pass it in every state of a session, and that a wrong one anywhere does not."""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from model import gpt2
from model.edits.paths import Batch
from model.edits.wiring import Wiring
from model.effects import attribution
from model.nodes import NodeTable
from tdb_tui import effects as measuring
from tdb_tui import engine as running
from tdb_tui.asked import Asked, Balance
from tdb_tui.commands import execute, verifying
from tdb_tui.engine import Engine
from tdb_tui.readings import Reading
from tdb_tui.tables.verification import Check
from tests.sessions import PROMPT, begin, do, fail, load, said, write_model

SCENES = (
    "rank",
    "rank pairs @END",
    "rank neurons in M2",
    "rank all by direct",
    "rank biases",
    "rank heads by measured @END",
    "ablate L1H2 ;; rank",
    "ablate L1H2@END<Mary scale 3 ;; rank pairs",
    "ablate A1@3:9 value 0.2 ;; rank",
    "ablate M2 ;; rank neurons",
    "set means positions ;; ablate A1 mean ;; ablate N2.5 mean ;; rank",
    "patch L1H{0,2} from B ;; patch E@Mary from B@John#1 ;; rank",
    "ablate BU@END value 0.3 ;; ablate BA1 ;; ablate WTE@3 scale 2 ;; rank all",
    "token @3 ;; attn L2H1",
    "trace N2.5@END ;; rank all",
    "trace M3@END ;; rank",
    "trace M3@END ;; trace L1H3@END via q ;; rank all",
    "trace L2H1@END via qk ;; rank",
    "trace L3H2@END via v ;; trace L1H0@END via k ;; rank all",
    "ablate L0H1 ;; trace M3@END ;; rank",
    "set metric prob ;; rank",
    "set metric logprob ;; ablate M1 ;; rank",
    "set metric logit_minus_mean ;; rank",
    "ablate M1@END ;; set metric kl ;; rank",
    "set ln all ;; rank",
    "set ln none ;; ablate L1H1 ;; rank",
    pytest.param(
        "edge ablate L0H1 -> L2H1.q,M3,U ;; edge patch M0 -> L2H3.k,U from B ;; rank all by direct",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "edge keep L0H1 -> L2H1.q, M0 -> M2, M1 -> U, M3 -> U from B ;; rank",
        marks=pytest.mark.slow,
    ),
    "edge ablate M0 -> L2H1.q ;; trace M3@END ;; set ln none ;; rank",
    pytest.param(
        "path L0H1@3 -> U,M3,L3H1 from B mlps ;; ablate L2H1 ;; rank",
        marks=pytest.mark.slow,
    ),
    "path L0H1,M0 -> L2H1.q from B direct ;; rank heads by measured @END",
    "edge ablate L0H1 -> M2,L2H1.q,U ;; set ln all ;; rank",
    pytest.param(
        "edge patch M0,L1H2 -> L2H1,M2 from B ;; ablate L1H0 ;; set ln all ;; trace M3@END ;; rank all",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "edge keep L0H1 -> L2H1.q, M0 -> M2, M1 -> U, M3 -> U from B ;; set ln all ;; rank",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "path L0H1@3 -> U,M3,L3H1 from B mlps ;; edge ablate M0 -> M1 ;; set ln all ;; rank",
        marks=pytest.mark.slow,
    ),
    *(
        pytest.param(scene, marks=pytest.mark.slow)
        for scene in (
            "edge patch M0,L1H2 -> L3H1.q from B ;; trace L3H1@END via q ;; rank all",
            "edge patch M0 -> L3H1.q from B ;; set ln none ;; trace L3H1@END<END via qk ;; rank all",
            "edge keep L0H1 -> L3H1.v, M1 -> L3H1.v, L3H1 -> U zero ;; trace L3H1@END via v ;; rank all by direct",
            "edge ablate M0,L1H2 -> M3 noise 0.5 ;; trace N3.5@END ;; rank all",
            "patch L3H1.q@END from B ;; ablate L3.k scale 0.5 ;; trace L3H1@END via qk ;; rank all",
            "path L0H1 -> M3,L3H1.k from B mlps ;; trace L3H1@END via k ;; rank all",
            "steer resid_mid.1@END += 2 * dir(Mary) ;; edge ablate M0 -> M3,U ;; rank biases",
            "ablate resid_pre.2@3:9 scale 0.5 ;; edge patch M0,L1H2 -> M3,L3H1 from B ;; rank all",
            "ablate resid_pre.2@END scale 0.5 ;; edge patch M0 -> U from B ;; set ln none ;; rank all by direct",
            "patch resid_pre.2@END from B ;; edge ablate M0,M2 -> M3 ;; trace M3@END ;; rank all by direct",
            "steer resid_mid.3@END += 2 * dir(Mary) ;; edge patch M0 -> M3 from B ;; trace M3@END ;; rank all by direct",
            "steer resid_post.3@END += 2 * dir(Mary) ;; edge patch M0 -> U from B ;; set ln all ;; rank all by direct",
            "steer resid_pre.2@END += dir(Mary) ;; path L0H1 -> M3,U from B ;; rank all by direct",
        )
    ),
    "ablate ln1_scale.3 scale 1.5 ;; ablate ln_final_scale noise 0.05 ;; trace L3H1@END via q ;; set ln none ;; rank",
    "edge ablate L0H1@END<Mary,N1.5 -> U ;; rank all by direct",
    "edge patch WTE -> M0,U from B ;; ablate M0@END ;; rank all by direct",
)

COMPARED = verifying.compared_with_transformers


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="module")
def exact(directory: Path) -> Engine:
    """In float64, where nothing but a mistake can be off."""
    return load(directory, "float64")


@pytest.fixture
def engine(directory: Path) -> Engine:
    """One that a test may spoil."""
    return load(directory)


@pytest.fixture(autouse=True)
def alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `transformers`, which takes seconds to import."""
    if "peers" not in request.keywords:
        monkeypatch.setattr(verifying, "compared_with_transformers", lambda *_: "it was left out")


def flagged(result: dict[str, Any]) -> set[str]:
    """The groups in which a number is called wrong."""
    return {row["group"] for row in result["rows"] if row["flag"] == "wrong"}


@pytest.mark.parametrize("scene", SCENES)
def test_every_number_of_a_right_program_is_right(exact: Engine, scene: str) -> None:
    result = do(begin(exact), f"{scene} ;; verify -n 5").result
    assert result["not_verified"] == [] and result["ok"] is True
    worst = max(abs(row["difference"]) / max(1, abs(row["float64"])) for row in result["rows"])
    assert worst < 1e-9
    assert {row["group"] for row in result["rows"]} == {
        "metric",
        "logits",
        "lens",
        "rank",
        "attention",
        "books",
    }


@pytest.mark.parametrize("edit", ["L1H2", "L1H2@END<3", "resid_mid.1@3:5", "M0"])
def test_resampling_is_verified_with_the_same_draws(exact: Engine, tmp_path: Path, edit: str) -> None:
    """The prompts that are drawn from, and which of them the seed draws, are found again by the independent pass."""
    others = [PROMPT.replace("Mary", name).replace("store", "drink") for name in ("Anna", "John", "Smith")]
    (tmp_path / "set.txt").write_text("\n".join(others) + "\n")
    values = set[float]()
    for seed in (0, 1, 2, 3):
        session = begin(exact)
        do(session, f"set means {tmp_path / 'set.txt'}", f"ablate {edit} resample seed {seed}")
        result = do(session, "rank", "verify -n 3").result
        assert result["not_verified"] == [] and result["ok"] is True
        values.add(round(session.snapshot.now.value, 9))
    assert len(values) > 1


def test_float32_is_right_to_the_last_digit_and_its_noise_floor_says_how_far(engine: Engine) -> None:
    result = do(begin(engine), "rank", "verify").result
    assert result["ok"] is True and 1e-8 < result["noise_floor"] < 1e-4
    assert any(row["difference"] for row in result["rows"])


def test_measured_effects_are_verified_where_they_are_known(engine: Engine) -> None:
    words = {row["what"].split()[-1] for row in do(begin(engine), "rank", "verify").result["rows"]}
    assert {"total", "direct", "measured", "norm"} <= words
    kept = do(begin(load(engine.info.directory)), "set measure off", "rank", "verify").result["rows"]
    assert not any(row["what"].endswith("measured") for row in kept)


def test_digits_below_the_noise_floor_are_flagged_as_rounding(directory: Path) -> None:
    result = do(begin(load(directory, "bfloat16")), "rank", "verify").result
    flags = [row["flag"] for row in result["rows"]]
    assert result["ok"] is False and "rounding" in flags
    for row in result["rows"]:
        assert (row["flag"] is None) == (abs(row["difference"]) <= row["digit"])


Spoil = Callable[[Callable[..., Any]], Callable[..., Any]]


def times(factor: float) -> Spoil:
    return lambda right: lambda *args, **kwargs: right(*args, **kwargs) * factor


def shifted(right: Callable[..., Iterator[tuple[int, float]]]) -> Callable[..., Iterator[tuple[int, float]]]:
    return lambda *args, **kwargs: ((at, value + 0.1) for at, value in right(*args, **kwargs))


def forgetful(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda model, tokens, changes, *rest, **kwargs: right(model, tokens, (), *rest, **kwargs)


def emptied(right: Callable[..., NodeTable]) -> Callable[..., NodeTable]:
    return lambda *args: right(*args).take(np.zeros(0, dtype=np.int64))


def transposed(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: right(*args).T


def by_erf(right: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x, approximate="none": right(x)


def cooked(right: Callable[..., Balance]) -> Callable[..., Balance]:
    def balance(asked: Asked, *shown: object) -> Balance:
        books = right(asked, *shown)
        return replace(books, rows=books.rows + 0.02, rest=books.rest - 0.02)

    return balance


DEFECTS: dict[str, tuple[object, str, Spoil, str, str]] = {
    "heads' effects too large by a twentieth": (attribution, "_heads", times(1.05), "rank heads", "rank"),
    "pairs' effects too small by a twentieth": (attribution, "_pairs", times(0.95), "rank pairs", "rank"),
    "a measurement that is off": (measuring, "measure", shifted, "rank", "rank"),
    "an edit that is not made": (running, "record", forgetful, "ablate A1", "metric"),
    "an edge that carries too little": (Wiring, "delta", times(0.9), "edge ablate M0 -> U", "logits"),
    "a path that arrives twice": (Batch, "received", times(1.1), "path L0H1 -> M3 from B", "logits"),
    "the other nonlinearity": (gpt2.F, "gelu", by_erf, "rank", "rank"),
    "a layer norm with another scale": (gpt2.LayerNorm, "scale", times(1.01), "rank", "lens"),
    "a pattern the wrong way round": (Reading, "pattern", transposed, "rank", "attention"),
    "biases that are left out": (attribution, "bias_table", emptied, "rank", "books"),
    "books that are cooked": (Asked, "balance", cooked, "rank", "books"),
}
"What is spoiled, how, in which state, and the numbers that must be called wrong."


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_called_wrong_where_it_is(
    directory: Path, monkeypatch: pytest.MonkeyPatch, defect: str
) -> None:
    owner, name, spoil, line, group = DEFECTS[defect]
    monkeypatch.setattr(owner, name, spoil(getattr(owner, name)))
    reply = do(begin(load(directory)), f"{line} ;; verify -n 6")
    assert reply.result["ok"] is False and group in flagged(reply.result)
    assert re.fullmatch(r"\d+ of \d+ numbers are off by more than half of their last digit", reply.lines[-1])


def test_a_weight_that_is_not_the_checkpoints_is_found(engine: Engine) -> None:
    session = begin(engine)
    projection = session.snapshot.now.model.blocks[1].attn.c_proj
    projection.weight = nn.Parameter(
        projection.weight * 1.1, requires_grad=False
    )  # itself, it lies in the file
    engine.forget()
    assert {"metric", "logits", "lens"} <= flagged(do(session, "run", "verify").result)


def test_the_table_names_shown_number_float64_and_difference_in_80_columns(engine: Engine) -> None:
    reply = do(begin(engine), "rank pairs", "verify")
    assert reply.lines[0].split() == ["shown", "float64", "difference"]
    assert all(len(line) <= 80 for line in reply.lines)
    assert len(reply.lines) == 1 + len(reply.result["rows"]) + 3
    assert re.search(r"^noise floor \d\.\de-\d\d logits: what float32 does to them$", said(reply), re.M)


def test_the_count_is_of_ranked_rows_and_0_means_all(engine: Engine) -> None:
    def rows(line: str) -> int:
        found = do(begin(engine), "rank mlps @END", line).result["rows"]
        return len({row["what"].split()[0] for row in found if row["group"] == "rank"})

    assert (rows("verify -n 1"), rows("verify -n 3"), rows("verify -n 0"), rows("verify")) == (1, 3, 4, 4)


def test_rows_that_are_sums_are_named_as_not_verified(engine: Engine) -> None:
    reply = do(begin(engine), "rank per layer", "verify")
    assert reply.result["ok"] is False and not flagged(reply.result)
    assert [line.partition(", since")[0] for line in reply.result["not_verified"]] == [
        "not verified: ranked rows",
        "not verified: the books",
    ]
    assert reply.lines[-2:] == tuple(reply.result["not_verified"])


def test_an_interrupt_ends_it_and_changes_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    session = begin(engine)
    before, read = session.snapshot, verifying.read_plain
    seen: list[str] = []

    def interrupting(directory: Path) -> object:
        seen.append(engine.progress)
        engine.interrupt.set()
        return read(directory)

    monkeypatch.setattr(verifying, "read_plain", interrupting)
    (done,) = execute(session, "verify")
    assert done.interrupted and session.snapshot is before and engine.progress == ""
    assert seen == ["reading the checkpoint"]


def test_without_its_checkpoint_nothing_can_be_verified(tmp_path: Path) -> None:
    session = begin(load(write_model(tmp_path / "gone")))
    shutil.rmtree(tmp_path / "gone")
    error = fail(session, "verify").error
    assert error is not None and error.code == "cannot-verify"
    assert error.message.startswith("nothing could be verified: ") and "config.json" in error.message


def test_a_peer_that_disagrees_makes_it_fail(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "compared_with_transformers", lambda *_: verifying.Peer("5.0", 0.01))
    reply = do(begin(engine), "verify")
    assert reply.result["ok"] is False and not flagged(reply.result)
    assert "transformers 5.0 DISAGREES with the float64 pass to 1.0e-02 of its logits" in reply.lines


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("find_spec", lambda name: None, "it is not installed"),
        ("MOST_BYTES", 100, "its weights would take 0 GiB"),
    ],
)
def test_without_the_peer_it_says_why(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str, value: object, why: str
) -> None:
    monkeypatch.setattr(verifying, "compared_with_transformers", COMPARED)
    monkeypatch.setattr(verifying, name, value)
    reply = do(begin(engine), "verify -n 1")
    assert reply.lines[-2] == f"not compared with transformers: {why}"
    assert reply.result["ok"] is True and reply.result["transformers"] is None


@pytest.mark.peers
def test_transformers_agrees_and_says_nothing(engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    found = do(begin(engine), "ablate L1H1", "verify -n 1").result["transformers"]
    assert found["difference"] < 1e-13
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize(
    ("text", "digit"),
    [
        ("+3.36", 0.005),
        (".71", 0.005),
        (".003", 0.0005),
        ("1e-06", 5e-7),
        ("1.0", 0.05),
        ("12", 0.5),
        ("+1.23e+05", 500),
    ],
)
def test_half_a_digit_is_read_off_what_is_displayed(text: str, digit: float) -> None:
    assert Check("", "", float(text), text, 0.0).digit == pytest.approx(digit)
