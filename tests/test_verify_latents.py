"""`verify` of latents: right numbers pass whatever is swapped in, edited and asked, and a wrong one does not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.dictionaries import LETTER_OF
from model.effects import latents as tables
from model.sites import Site
from sae.autoencoder import Autoencoder
from sae.files import save_autoencoder
from sae.normalization import Normalization
from tdb_tui import engine as running
from tdb_tui.commands import verifying
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tests.dictionaries import NONLINEARITIES, random_dictionary, write_dictionaries
from tests.sessions import SHAPE, begin, do, load, write_model

KINDS = list(NONLINEARITIES.values())
NORMS = (Normalization.LAYER_NORM, Normalization.UNIT_NORM, Normalization.CENTRE, Normalization.NONE)

SCENES = {
    "outputs": (
        "latents mlps ;; rank",
        "latents mlps ;; latents heads ;; rank all by direct",
        "rank latents @END by measured",
        "latents mlps ;; ablate Fm1.{m1}@END ;; rank",
        "latents mlps ;; ablate Fm1.{m1} scale 0.5 ;; ablate Xm2 ;; rank all",
        "latents heads ;; patch Fa1.{a1} from B ;; freeze Fa2.{{3,{a2}}} ;; rank",
        "steer Fm2.{m2}@END = 3 ;; steer Fm2.5 += 1 ;; ablate BFm1 scale 2 ;; rank biases",
        "set means positions ;; ablate Fm1.{{5,{m1}}} mean ;; ablate Fa1.3 noise 0.5 seed 4 ;; latents mlps ;; rank",
        "latents mlps ;; trace Fm2.{m2}@END ;; rank",
        "trace Fm2.{m2}@END ;; edge patch M0 -> M2 from B ;; rank",
        "latents heads ;; trace Fa2.{a2}@END ;; rank all",
        "latents mlps ;; trace Fa3.{a3}@END ;; trace Fm1.{m1}@END ;; rank",
        "latents mlps ;; ablate M1 ;; set ln all ;; rank",
        "ablate Fm1.{m1} ;; set ln none ;; latents mlps ;; rank all",
        "latents heads ;; ablate ln1_scale.2 value 3 ;; trace Fa2.{a2}@END ;; rank",
    ),
    "inside": (
        "latents mlps ;; latents heads ;; rank all",
        "latents heads ;; ablate Fz1.{z1}@END ;; ablate A2 scale 0.5 ;; rank all",
        "latents mlps ;; ablate Fp1.{p1} ;; ablate M2@END ;; rank neurons",
        "latents mlps ;; trace Fp2.{p2}@END ;; rank",
        "latents heads ;; trace Fz2.{z2}@END ;; rank all",
        "ablate Fz1.{z1} ;; rank pairs @END",
        "rank latents by norm",
    ),
    "stream": (
        "latents stream ;; rank all",
        "latents stream ;; ablate Fr2.{r2}@END ;; rank all",
        "latents stream ;; trace Fr3.{r3}@END ;; rank",
        "trace Fr2.{r2}@END ;; rank all",
    ),
    "transcoders": (
        "latents mlps ;; latents heads ;; rank all",
        "latents mlps ;; ablate Fm1.{m1}@END ;; ablate Fp2.{p2} scale 3 ;; rank all",
        "latents mlps ;; trace Fm1.{m1}@END ;; rank",
        "latents heads ;; trace Fz2.{z2}@END ;; rank",
        "latents mlps ;; ablate N1.3 ;; ablate Xm1 ;; rank",
    ),
}

PLACES: dict[str, tuple[tuple[Site, Site], ...]] = {
    "outputs": ((Site.MLP_OUT, Site.MLP_OUT), (Site.ATTN_OUT, Site.ATTN_OUT)),
    "inside": ((Site.MLP_POST, Site.MLP_POST), (Site.Z, Site.Z)),
    "stream": ((Site.RESID_PRE, Site.RESID_PRE),),
}
"""From where to where, in every layer."""
TRANSCODERS = (
    (Site.LN2_NORMALIZED, Site.MLP_OUT),
    (Site.LN2_NORMALIZED, Site.MLP_OUT),
    (Site.LN2_NORMALIZED, Site.MLP_POST),
    (Site.MLP_POST, Site.MLP_OUT),
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="module")
def exact(directory: Path) -> Engine:
    """In float64, where nothing but a mistake can be off."""
    return load(directory, "float64")


def made(reads: Site, writes: Site, layer: int) -> Autoencoder:
    return random_dictionary(
        (reads, layer),
        SHAPE,
        writes=None if reads is writes else (writes, layer),
        nonlinearity=KINDS[layer],
        normalization=NORMS[layer],
        pre_bias=layer % 2 == 0,
        skip=reads is not writes,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Dictionaries of every layer: every nonlinearity and normalisation, with and without a bias off the input."""
    layers = range(SHAPE.n_layer)
    each = {
        name: [made(*pair, layer) for pair in pairs for layer in layers] for name, pairs in PLACES.items()
    }
    of_heads = [made(Site.LN1_NORMALIZED, Site.Z, layer) for layer in (1, 2)]
    each["transcoders"] = [made(*pair, layer) for layer, pair in enumerate(TRANSCODERS)] + of_heads
    return {name: write_dictionaries(tmp_path_factory.mktemp(name), found) for name, found in each.items()}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `transformers`, which takes seconds to import."""
    monkeypatch.setattr(verifying, "compared_with_transformers", lambda *_: "it was left out")


def strongest(session: Session) -> dict[str, int]:
    """Of every dictionary the latent that does most at the last token: `m1`, `a2`, ..."""
    table = session.snapshot.now.asked().table("latent", [session.state.end])
    found: dict[str, tuple[float, int]] = {}
    for row in range(len(table)):
        part = table.node(row).component
        name, total = f"{part.site}{part.layer}", abs(float(table.total[row]))
        if total > found.get(name, (-1.0, 0))[0]:
            found[name] = total, part.index or 0
    return {name: index for name, (_, index) in found.items()}


def verified(engine: Engine, folder: Path, scene: str) -> dict[str, Any]:
    session = begin(engine)
    do(session, f"set sae {folder}")
    return do(session, f"{scene.format(**strongest(session))} ;; verify -n 8").result


@pytest.mark.parametrize(("name", "scene"), [(name, scene) for name in SCENES for scene in SCENES[name]])
def test_every_number_of_latents_is_right(
    exact: Engine, files: dict[str, Path], name: str, scene: str
) -> None:
    result = verified(exact, files[name], scene)
    assert result["not_verified"] == []
    off = {
        row["what"]: row["difference"]
        for row in result["rows"]
        if abs(row["difference"]) > 1e-9 * max(1, abs(row["float64"]))
    }
    assert off == {}


@pytest.mark.parametrize(
    ("scene", "why"),
    [
        ("edge ablate M0 -> U ;; latents mlps ;; rank latents", "where edges are edited is unknown to it"),
        ("ablate L2H1 ;; trace Fa2.{a2}@END ;; rank", "what edits inside of its sub-layer leave of Fa2."),
    ],
)
def test_what_is_not_recomputed_is_said(exact: Engine, files: dict[str, Path], scene: str, why: str) -> None:
    result = verified(exact, files["outputs"], scene)
    assert result["ok"] is False and any(why in line for line in result["not_verified"])


Spoil = Callable[[Callable[..., Any]], Callable[..., Any]]


def times(factor: float) -> Spoil:
    return lambda right: lambda *args, **kwargs: right(*args, **kwargs) * factor


def brighter(right: Callable[..., Any]) -> Callable[..., Any]:
    def found(*args: object) -> object:
        active = right(*args)
        return replace(active, value=active.value * 1.02)

    return found


def forgetful(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda model, tokens, changes, *rest, **kwargs: right(model, tokens, (), *rest, **kwargs)


DEFECTS: dict[str, tuple[object, str, Spoil, str, str]] = {
    "activations too large": (tables, "active", brighter, "latents mlps ;; rank", "rank"),
    "an error term too small": (tables, "error", times(0.9), "latents mlps ;; rank", "books"),
    "a bias too large": (tables, "beside", times(1.1), "latents mlps ;; rank biases", "rank"),
    "an edit of a latent that is not made": (running, "record", forgetful, "ablate Fm1.{m1}", "metric"),
    "a decoder row's length": (Autoencoder, "factor", times(1.1), "latents mlps ;; rank", "rank"),
    "a direction that is read": (Autoencoder, "direction", times(1.1), "trace Fm2.{m2}@END ;; rank", "rank"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_called_wrong_where_it_is(
    directory: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, defect: str
) -> None:
    owner, name, spoil, scene, group = DEFECTS[defect]
    engine = load(directory)
    session = begin(engine)
    do(session, f"set sae {files['outputs']}")
    numbers = strongest(session)
    engine.forget()
    monkeypatch.setattr(owner, name, spoil(getattr(owner, name)))
    result = do(session, f"run ;; {scene.format(**numbers)} ;; verify").result
    assert result["ok"] is False
    assert group in {row["group"] for row in result["rows"] if row["flag"] == "wrong"}


def test_float32_is_right_to_the_last_digit(directory: Path, files: dict[str, Path]) -> None:
    assert verified(load(directory), files["outputs"], "latents mlps ;; latents heads ;; rank")["ok"] is True


def test_a_file_that_has_changed_is_found(exact: Engine, tmp_path: Path) -> None:
    path = tmp_path / "it.safetensors"
    dictionary = made(Site.MLP_OUT, Site.MLP_OUT, 1)
    save_autoencoder(dictionary, path)
    session = begin(exact)
    do(session, f"set sae {path}", "latents mlps", "rank")
    save_autoencoder(replace(dictionary, w_dec=dictionary.w_dec * 1.1), path)
    result = do(session, "verify -n 0").result
    assert any(
        row["flag"] == "wrong" and row["what"].startswith(f"F{LETTER_OF[Site.MLP_OUT]}1")
        for row in result["rows"]
    )
    path.unlink()
    result = do(session, "verify").result
    assert result["not_verified"] or not result["ok"]
