"""`tdb-tui published` and `explain --from` against a server on loopback, and against exports on disk."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from explanations.published import catalogue
from explanations.published.catalogue import GELU, SCORED
from explanations.records import Sampling
from explanations.store import open_store
from tdb_tui.engine import Engine
from tdb_tui.machine.patience import Patience
from tdb_tui.publications import web
from tdb_tui.session import Session
from tdb_tui.stores import published_stores
from tdb_tui.views.data import TextRow
from tdb_tui.views.page import page
from tests.programs import tdb_tui
from tests.publications import published_files as files
from tests.publications.server import Behave, holding
from tests.sessions import SHAPE, begin, do, fail, load, said, write_model

SMALL = "neuron-explainer/gpt2_small_data"
HEADS = "neuron-explainer/gpt2_small/attn_write_norm"
LATENTS = "neuron-explainer/gpt2-small/autoencoder_latent"
NEWER = "neuron-explainer/gpt2_small/autoencoder_latent"
HELD = {
    f"{SMALL}/collated-activations/1/17.json": files.as_bytes(files.neuron_record(1, 17)),
    f"{SMALL}/explanations/1/17.jsonl": files.as_bytes(files.simulation_results(1, 17)),
    f"{SMALL}/collated-activations/1/18.json": files.as_bytes(files.neuron_record(1, 18, old=True)),
    f"{HEADS}/collated_activations_by_token_pair/1/2.json": files.as_bytes(
        files.neuron_record(1, 2, pairs=True)
    ),
    f"{LATENTS}/resid_delta_mlp/collated-activations/1/3.json": files.as_bytes(files.neuron_record(1, 3)),
    f"{NEWER}/resid_delta_attn_v4/collated-activations-by-token-pair/1/4.json": files.as_bytes(
        files.neuron_record(1, 4, pairs=True)
    ),
    "api/feature/gpt2-small/1-res-jb/5": files.as_bytes(files.feature("1-res-jb", 5)),
}
Tell = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(autouse=True)
def shape_patience_and_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tiny model passes for GPT-2 small; waits are short; what is fetched is seen by no other test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(catalogue.SHAPES, (SHAPE.n_layer, SHAPE.n_head, SHAPE.d_model), "gpt2-small")
    quick = Patience(tries=3, timeout=0.5, first_wait=0.01, longest_wait=0.02)
    monkeypatch.setattr(web.Web.__init__, "__defaults__", (None, quick))


@pytest.fixture
def tell(model: Path) -> Tell:
    """`tdb-tui published` with these words: exit code, output, errors."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        done = tdb_tui("published", *words, "--model", model)
        return done.returncode, done.stdout, done.stderr

    return run


def test_neurons_and_heads_come_and_are_not_asked_for_again(tell: Tell, tmp_path: Path) -> None:
    path = tmp_path / "p.store"
    with holding(HELD) as server:
        words = ("openai", "N1.17", "N1.18", "L1H2", "N1.19", "--store", path, "--url", server.url)
        code, out, err = tell(*words)
        assert (code, err) == (0, "")
        assert out == f"{path}: 3 components, nothing published about 1\n"
        assert f"{HEADS}/collated-activations-by-token-pair/1/2.json" in server.asked, (
            "the first spelling first"
        )
        before = len(server.asked)
        code, out, err = tell(*words)
        asked_again = server.asked[before:]
        assert (code, out) == (0, f"{path}: 0 components, 3 were there already, nothing published about 1\n")
        assert all(each.split("/")[-1].startswith("19.") for each in asked_again)
        assert tell(*words, "--again")[1].startswith(f"{path}: 3 components")
    store = open_store(path)
    assert sorted(store.nodes()) == ["L1H2", "N1.17", "N1.18"]
    assert store.explanations("N1.17")[0].text == files.TEXT
    assert store.examples("L1H2", Sampling.TOP)[0].activations.shape == (len(files.TOKENS),) * 2


def test_latents_of_either_release_by_either_spelling_and_by_pairs(tell: Tell, tmp_path: Path) -> None:
    path = tmp_path / "p.store"
    with holding(HELD) as server:
        to = ("--store", path, "--url", server.url)
        assert tell("openai", "Fm1.3", "--release", "v1", *to)[1] == f"{path}: 1 components\n"
        assert tell("openai", "Fa1.4", "--pairs", *to)[1] == f"{path}: 1 components\n"
        assert tell("openai", "Fm1.3", *to)[1] == f"{path}: 0 components, nothing published about 1\n"
    store = open_store(path)
    assert store.examples("Fm1.3", Sampling.TOP)[0].activations.ndim == 1
    assert store.examples("Fa1.4", Sampling.TOP)[0].activations.ndim == 2
    about = {node: known.origin for node in store.nodes() if (known := store.statistics(node))}
    assert sorted(each.name for each in about.values() if each) == [
        "OpenAI 2024, v1",
        "OpenAI 2024, v4 by pairs",
    ]


def test_a_mirror_may_be_a_folder(tell: Tell, tmp_path: Path) -> None:
    for name, content in HELD.items():
        (tmp_path / "mirror" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mirror" / name).write_bytes(content)
    code, out, _ = tell(
        "openai", "N1.17,N1.18", "--url", tmp_path / "mirror", "--store", tmp_path / "p.store"
    )
    assert (code, out) == (0, f"{tmp_path / 'p.store'}: 2 components\n")


def test_explanations_alone(tell: Tell, tmp_path: Path) -> None:
    path = tmp_path / "p.store"
    with holding(HELD) as server:
        words = ("openai", "N1.17", "--no-records", "--url", server.url, "--store", path)
        assert tell(*words)[0] == 0
        assert server.asked == [f"{SMALL}/explanations/1/17.jsonl"]
        assert tell(*words)[1].endswith("0 components, 1 were there already\n")
        assert len(server.asked) == 1
    assert open_store(path).statistics("N1.17") is None
    assert open_store(path).explanations("N1.17")[0].score == 0.37


def test_a_latent_of_neuronpedia_and_the_key_that_is_sent(
    tell: Tell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding(HELD) as server:
        monkeypatch.setenv("TDB_NEURONPEDIA_URL", server.url)
        assert tell("neuronpedia", "Fr1.5", "--store", tmp_path / "p.store")[0] == 0
        assert server.asked == ["api/feature/gpt2-small/1-res-jb/5"]
    assert open_store(tmp_path / "p.store").explanations("Fr1.5")[0].text == files.TEXT


ONCE: dict[str, tuple[int, dict[str, str], bytes]] = {
    "too many requests": (429, {"Retry-After": "0.01"}, b"slow down"),
    "a server error": (500, {}, b"<html>oops</html>"),
    "a truncated stream": (200, {"Content-Length": "100000"}, b'{"neuron_id'),
}


@pytest.mark.parametrize("name", [*ONCE, "a server that hangs"])
def test_what_passes_is_tried_again(name: str, tell: Tell, tmp_path: Path) -> None:
    def behave(number: int, path: str) -> tuple[int, dict[str, str], bytes] | float | None:
        return ONCE.get(name, 0.8) if number == 0 else None

    with holding(HELD, behave) as server:
        assert tell("openai", "N1.17", "--url", server.url, "--store", tmp_path / "p.store")[0] == 0
        assert len(server.asked) == 3, "one try more, and the explanation"


BAD = files.as_bytes(files.neuron_record(1, 99))
FAULTS: dict[str, tuple[Behave, str]] = {
    "always busy": (
        lambda number, path: (503, {}, b"busy \x1b[2J"),
        "gave no answer in 3 tries, the last time: 503",
    ),
    "no entry": (lambda number, path: (401, {}, b"who\x07 are you"), "was refused: 401 who\\x07 are you"),
    "not JSON": (lambda number, path: (200, {}, b"<html>"), "is not JSON"),
    "another neuron": (lambda number, path: (200, {}, BAD), "is about 1:99, not about N1.17"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_used_is_one_sentence_and_the_rest_is_kept(
    name: str, tell: Tell, tmp_path: Path
) -> None:
    behave, why = FAULTS[name]

    def one(number: int, path: str) -> tuple[int, dict[str, str], bytes] | float | None:
        return behave(number, path) if path.endswith("/17.json") else None

    with holding(HELD, one) as server:
        code, out, err = tell(
            "openai", "N1.17", "N1.18", "--url", server.url, "--store", tmp_path / "p.store"
        )
    assert code == 1 and why in err and err.startswith("*** ") and err.count("\n") == 1
    assert err.strip().isprintable()
    assert out == f"{tmp_path / 'p.store'}: 1 components, 1 could not be used\n"
    assert open_store(tmp_path / "p.store").nodes() == ["N1.18"]


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("openai",), 1, "say which components"),
        (("openai", "M1"), 1, "M1 is no neuron, head or latent"),
        (("openai", "N9.1"), 1, "out of range"),
        (("openai", "Fr1.5"), 1, "OpenAI published neurons of gpt2-small and gpt2-xl"),
        (("neuronpedia", "L1H1"), 1, "Neuronpedia has neurons and latents"),
        (("anthropic", "N1.1"), 1, "no file anthropic, and no publisher of that name"),
        (("openai", "N1.1", "--release", "v9"), 2, "unknown release 'v9'"),
        (("openai", "N1.1", "--url", "http://127.0.0.1:9"), 1, "gave no answer in 3 tries"),
    ],
)
def test_mistakes_are_one_sentence(
    words: tuple[str, ...], code: int, why: str, tell: Tell, tmp_path: Path
) -> None:
    found, _, err = tell(*words, "--store", tmp_path / "p.store")
    assert (found, err.count("\n")) == (code, 1) and why in err


def test_a_model_of_another_shape_is_refused(
    tell: Tell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(catalogue.SHAPES, (SHAPE.n_layer, SHAPE.n_head, SHAPE.d_model))
    code, _, err = tell("openai", "N1.17", "--store", tmp_path / "p.store")
    assert code == 1 and "this model has 4 layers of 4 heads and 32 dimensions" in err


def lines(found: list[dict[str, Any]]) -> bytes:
    return b"".join(files.as_bytes(each) + b"\n" for each in found)


def test_an_export_in_its_files(tell: Tell, tmp_path: Path) -> None:
    folder, path = tmp_path / "1-res-jb", tmp_path / "p.store"
    kinds = {
        "activations": [
            files.activation("1-res-jb", index, 10 * index + n) for index in range(300) for n in range(2)
        ],
        "explanations": [files.explanation("1-res-jb", index, f"feature {index}") for index in range(300)],
        "features": [
            {
                name: each
                for name, each in files.feature("1-res-jb", index).items()
                if name[:3] not in ("exp", "act")
            }
            for index in range(300)
        ],
    }
    for kind, found in kinds.items():
        (folder / kind).mkdir(parents=True)
        (folder / kind / "batch-0.jsonl.gz").write_bytes(gzip.compress(lines(found)))
    assert tell(folder, "--store", path)[:2] == (0, f"{path}: 300 components\n")
    store = open_store(path)
    assert len(store.nodes()) == 300
    assert store.explanations("Fr1.299")[0].text == "feature 299"
    assert len(store.examples("Fr1.299", Sampling.TOP)) == 2
    known = store.statistics("Fr1.299")
    assert known is not None and known.density == 0.0125 and known.promoted
    assert next(hit.node for hit in store.search("feature 123", 3)) == "Fr1.123"


def test_an_export_of_explanations_as_one_list_and_some_of_it(tell: Tell, tmp_path: Path) -> None:
    export = tmp_path / "explanations.json"
    export.write_text(json.dumps([files.explanation("2-mine", index) for index in range(9)], indent=1))
    code, _, err = tell(export, "--store", tmp_path / "p.store")
    assert code == 1 and "is about 2-mine, whose place is not known here: name it with --site" in err
    code, out, _ = tell(export, "Fo2.3", "Fo2.4", "--site", "o", "--store", tmp_path / "p.store")
    assert (code, out) == (0, f"{tmp_path / 'p.store'}: 2 components\n")
    assert open_store(tmp_path / "p.store").explanations("Fo2.3")[0].text == files.TEXT


WRONG: dict[str, tuple[str, bytes, str]] = {
    "of another model": (
        "e.jsonl",
        lines([files.explanation("1-res-jb", 1) | {"modelId": "gemma-2-2b"}]),
        "e.jsonl:1 is about gemma-2-2b: this model has the shape of gpt2-small",
    ),
    "cut off": (
        "e.jsonl.gz",
        gzip.compress(lines([files.explanation("1-res-jb", 1)] * 50))[:-20],
        "e.jsonl.gz is damaged",
    ),
    "not compressed": ("e.jsonl.gz", b"plain", "e.jsonl.gz is damaged"),
    "half a line": ("e.jsonl", lines([files.explanation("1-res-jb", 1)])[:-9], "e.jsonl:1 is not JSON"),
    "half a list": ("e.json", b"[{},\n{", "e.json is not JSON"),
    "of nothing": ("e.jsonl", b"\n", "holds nothing about any component"),
    "without a layer": ("e.jsonl", b'{"modelId": "gpt2-small", "index": 1}\n', "e.jsonl:1 has no layer"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_export_that_is_wrong_is_one_sentence(name: str, tell: Tell, tmp_path: Path) -> None:
    file, content, why = WRONG[name]
    (tmp_path / file).write_bytes(content)
    code, _, err = tell(tmp_path / file, "--store", tmp_path / "p.store")
    assert code == 1 and why in err and err.count("\n") == 1


def refused(session: Session, line: str) -> str:
    error = fail(session, line).error
    assert error is not None
    return error.message


@pytest.fixture
def engine(model: Path) -> Engine:
    return load(model)


@pytest.fixture
def session(engine: Engine) -> Session:
    return begin(engine)


def test_a_session_fetches_one_component_and_says_what_is_wrong_with_it(
    session: Session, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no store is loaded" in refused(session, "explain N1.17")
    with holding(HELD) as server:
        monkeypatch.setenv("TDB_OPENAI_URL", server.url)
        reply = do(session, "explain N1.17 --from openai")
        before = len(server.asked)
    text = " ".join(reply.lines)
    assert files.TEXT in text and "0.37" in text and f"careful: OpenAI 2023 was {SCORED}" in text
    assert reply.result["careful"] == {"OpenAI 2023": SCORED} and before == 2
    for line in ("examples N1.17", "info N1.17"):
        assert f"careful: {GELU}" in said(do(session, line)), line
    shown = do(session, "examples N1.17")
    assert "published by OpenAI 2023" in shown.lines[0] and shown.result["published"]["fault"] == GELU
    assert "neurons of gpt2-small over WebText, by OpenAI 2023: max" in said(do(session, "info N1.17"))
    assert do(session, "find Mary").result["rows"][0]["node"] == "N1.17"
    assert list(published_stores().iterdir()), "it is kept"
    later = begin(load(model))
    assert files.TEXT in said(do(later, "explain N1.17")), "for every session with this model"


def test_records_without_an_explanation_are_explained_from_data(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding(HELD) as server:
        monkeypatch.setenv("TDB_OPENAI_URL", server.url)
        reply = do(session, "explain L1H2 --from openai")
        assert "made just now" in reply.lines[0] and reply.result["rows"]
        assert "openai has published nothing about N1.19" in refused(session, "explain N1.19 --from openai")
        assert "unknown publisher 'x'" in refused(session, "explain N1.19 --from x")


def test_a_fetch_that_is_interrupted_keeps_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(number: int, path: str) -> float:
        session.engine.interrupt.set()
        return 0.4

    with holding(HELD, hang) as server:
        monkeypatch.setenv("TDB_OPENAI_URL", server.url)
        assert fail(session, "explain N1.17 --from openai").interrupted
    session.engine.interrupt.clear()
    assert "no store is loaded" in refused(session, "explain N1.17")


def test_the_page_of_a_component_says_what_is_wrong_with_what_was_published(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding(HELD) as server:
        monkeypatch.setenv("TDB_OPENAI_URL", server.url)
        do(session, "explain N1.17 --from openai")
    do(session, "info N1.17")
    shown = page(session.snapshot)
    assert shown is not None
    careful = [row.text for row in shown.rows if isinstance(row, TextRow) and row.label == "careful"]
    assert careful == [f"OpenAI 2023 was {SCORED}", GELU]
