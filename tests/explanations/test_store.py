"""The store: what goes in comes out, several may use it at once, and what is wrong is said in one sentence."""

import sqlite3
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from explanations.bins import COUNT, EDGES
from explanations.blobs import NO_KEY, Slots, encode, pack_scores, unpack_scores
from explanations.records import Explanation, Moments, Note, Sampling, Score, Sequence
from explanations.schema import Identity, StoreError
from explanations.store import Store, open_store
from explanations.writing import (
    Collated,
    Family,
    begin_collation,
    content_hash,
    drop_explanations,
    drop_note,
    finish,
    put_component,
    put_explanations,
    put_note,
    put_sequences,
    thin,
    writing,
)

TINY = Identity("tiny", "0123456789abcdef")
SEQUENCES = (
    Sequence((112, 5, 17, 80), "a.txt document 0 token 0"),
    Sequence((112, 70000, 2), "a.txt document 1 token 0"),
)
ACTS = np.array([[-0.17, 0.0, 0.5, 2.5], [0.0, 1.0, -0.25, 0.0]], np.float32)
PAIRS = np.array([[0, 0.5, 0, 3.0, 0.25, 0, 0, 0, 0, 0], [0, 0.75, 0, 0, 1.5, 0, 0, 0, 0, 0]], np.float32)


def slots(acts: np.ndarray, peaks: list[int], keys: list[int]) -> Slots:
    codes, low, high = zip(*map(encode, acts), strict=True)
    ordinals = np.arange(len(acts), dtype=np.uint32)
    places = np.array(peaks, np.uint16), np.array(keys, np.uint16)
    return Slots(ordinals, *places, acts.max(1), np.array(low), np.array(high), np.array(codes))


def collated(node: str, found: Slots, words: tuple[str, str, str] = ("", "", "")) -> Collated:
    counts = np.zeros(COUNT, np.int64)
    counts[[3, 100, 101]] = 7, 2, 5
    moments = Moments(14, 0.5, 1.25, float("nan"), 3.5)
    samples = {Sampling.TOP: found}
    return Collated(node, moments, 2.5, 0.25, counts, samples, (17, 5), (80,), words)


def fill(path: Path) -> Path:
    with writing(path, TINY) as connection:
        families = [Family("N"), Family("L"), Family("F1", "5ae")]
        number = begin_collation(connection, {"seed": 0}, {"files": ["a.txt"]}, (2, 7), families)
        put_sequences(connection, number, SEQUENCES)
        put_component(
            connection,
            "N",
            collated("N0.3", slots(ACTS, [3, 1], [NO_KEY] * 2), (" film cinema", " movie", "a movie about")),
        )
        put_component(
            connection,
            "L",
            collated("L0H1", slots(PAIRS, [2, 2], [0, 1]), ("", " film", "the film, the film")),
        )
        explained = [
            Explanation(
                "N0.3",
                "films and cinema",
                "person",
                scores=(Score("correlation", 0.5, 0.4, 0.6, {"top": 5}),),
            ),
            Explanation(
                "N0.3", "the word movie", "tokens", scores=(Score("correlation", 0.75),), samples={"top": 9}
            ),
            Explanation("N0.3", "no idea", "person"),
        ]
        put_explanations(connection, explained)
        put_note(connection, Note("L0H1", "reads the movie's title"))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(fill(tmp_path / "tiny.store"))


def test_a_neurons_examples_come_back_with_tokens_and_activations(store: Store) -> None:
    first, second = store.examples("N0.3", Sampling.TOP)
    assert (first.tokens, first.source, first.value, first.peak, first.key) == (
        (112, 5, 17, 80),
        "a.txt document 0 token 0",
        2.5,
        3,
        None,
    )
    assert np.abs(first.activations - ACTS[0]).max() <= (2.5 + 0.17) / 255
    assert second.tokens == (112, 70000, 2)
    assert second.activations.shape == (3,)
    assert store.examples("N0.3", Sampling.TOP, 1)[0].value == 2.5
    assert store.examples("N0.3", Sampling.RANDOM) == []
    assert store.examples("N0.4", Sampling.TOP) == []


def test_a_heads_examples_are_matrices_below_the_diagonal(store: Store) -> None:
    first, _ = store.examples("L0H1", Sampling.TOP)
    assert (first.peak, first.key) == (2, 0)
    expected = np.array([[0, 0, 0, 0], [0.5, 0, 0, 0], [3, 0.25, 0, 0], [0, 0, 0, 0]])
    assert np.abs(first.activations - expected).max() <= 3 / 255
    assert np.abs(first.by_token - [0, 0.5, 3, 0]).max() <= 3 / 255
    assert np.abs(first.out_of_token - [3, 0.25, 0, 0]).max() <= 3 / 255


def test_statistics_come_back_and_what_varies_nowhere_has_no_skewness(store: Store) -> None:
    found = store.statistics("N0.3")
    assert found is not None
    assert (found.moments.count, found.moments.mean, found.moments.variance, found.moments.kurtosis) == (
        14,
        0.5,
        1.25,
        3.5,
    )
    assert np.isnan(found.moments.skewness)
    assert (found.max, found.density, found.promoted, found.suppressed) == (2.5, 0.25, (17, 5), (80,))
    assert found.histogram.counts.sum() == 14
    assert found.histogram.counts[[0, -2, -1]].tolist() == [7, 2, 5]
    assert found.histogram.edges[[0, -1]].tolist() == [EDGES[3], EDGES[102]]
    assert store.statistics("N0.4") is None


def test_explanations_come_best_first_and_keep_how_they_were_scored(store: Store) -> None:
    found = store.explanations("N0.3")
    assert [each.text for each in found] == ["the word movie", "films and cinema", "no idea"]
    assert found[1].scores == (Score("correlation", 0.5, 0.4, 0.6, {"top": 5}),)
    assert found[0].samples == {"top": 9}
    assert store.best(["N0.3", "L0H1"])["N0.3"].text == "the word movie"


def test_an_explanation_told_twice_is_kept_once_with_its_last_score(store: Store) -> None:
    again = Explanation("N0.3", "films and cinema", "person", scores=(Score("correlation", 0.9),))
    with writing(store.path, TINY) as connection:
        put_explanations(connection, [again])
    found = store.explanations("N0.3")
    assert [(each.text, each.score) for each in found[:2]] == [
        ("films and cinema", 0.9),
        ("the word movie", 0.75),
    ]
    with writing(store.path, TINY) as connection:
        drop_explanations(connection, [each.number for each in found if each.number is not None])
    assert store.explanations("N0.3") == ()
    assert {hit.node: hit.field for hit in store.search("films")} == {"N0.3": "promoted", "L0H1": "peak"}


def test_notes_are_kept_and_dropped(store: Store) -> None:
    assert store.notes("L0H1") == (Note("L0H1", "reads the movie's title", 1),)
    with writing(store.path, TINY) as connection:
        number = put_note(connection, Note("", "a small model"))
    assert [note.text for note in store.notes()] == ["reads the movie's title", "a small model"]
    with writing(store.path, TINY) as connection:
        drop_note(connection, number)
    assert len(store.notes()) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("movies", [("N0.3", "explanation"), ("L0H1", "note")]),
        ("cinema", [("N0.3", "explanation")]),
        ("about", [("N0.3", "context")]),
        ('film" OR NOT (*', []),
        ("film", [("N0.3", "explanation"), ("L0H1", "peak")]),
        ("zebra", []),
        ("  ", []),
    ],
)
def test_every_text_is_searched_and_nothing_typed_is_an_operator(
    store: Store, words: str, expected: list[tuple[str, str]]
) -> None:
    assert [(hit.node, hit.field) for hit in store.search(words)] == expected


def test_a_second_collation_replaces_its_families_and_leaves_the_others_and_the_notes(store: Store) -> None:
    with writing(store.path, TINY) as connection:
        number = begin_collation(connection, {"seed": 1}, {}, (1, 4), [Family("N")])
        put_sequences(connection, number, SEQUENCES[:1])
        put_component(connection, "N", collated("N0.4", slots(ACTS[:1], [3], [NO_KEY])))
    assert store.examples("N0.3", Sampling.TOP) == []
    assert len(store.examples("N0.4", Sampling.TOP)) == 1
    assert len(store.examples("L0H1", Sampling.TOP)) == 2
    assert [each["plan"]["seed"] for each in store.corpora()] == [0, 1]
    assert len(store.explanations("N0.3")) == 3
    assert store.search("cinema")[0].field == "explanation"
    assert store.sources() == {"F1": "5ae", "L": "", "N": ""}


def test_a_block_that_fails_leaves_the_store_as_it_was(store: Store) -> None:
    before = content_hash(store.path)
    with pytest.raises(RuntimeError), writing(store.path, TINY) as connection:
        begin_collation(connection, {}, {}, (0, 0), [Family("N")])
        raise RuntimeError
    assert content_hash(store.path) == before


def test_the_same_content_has_the_same_hash_and_another_one_has_not(tmp_path: Path) -> None:
    one, two = fill(tmp_path / "one.store"), fill(tmp_path / "two.store")
    assert content_hash(one) == content_hash(two)
    finish(two)
    assert content_hash(one) == content_hash(two)
    with writing(two, TINY) as connection:
        put_note(connection, Note("M0", "new"))
    assert content_hash(one) != content_hash(two)


def test_two_readers_and_a_writer_share_a_store(store: Store) -> None:
    other = open_store(store.path)
    seen: list[int] = []

    def read() -> None:
        seen.extend(len(other.explanations("N0.3")) for _ in range(50))

    with writing(store.path, TINY) as connection:
        begin_collation(connection, {}, {}, (0, 0), [Family("N"), Family("L"), Family("F1")])
        reader = threading.Thread(target=read)
        reader.start()
        assert len(store.examples("N0.3", Sampling.TOP)) == 2  # as it was until the block ends
        reader.join(20)
    assert seen == [3] * 50
    assert store.examples("N0.3", Sampling.TOP) == []


def test_a_finished_store_is_read_from_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "shipped"
    folder.mkdir()
    finish(fill(folder / "tiny.store"))
    assert [path.name for path in folder.iterdir()] == ["tiny.store"]
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert len(open_store(folder / "tiny.store", TINY.model_hash).examples("N0.3", Sampling.TOP)) == 2
        assert [path.name for path in folder.iterdir()] == ["tiny.store"]
    finally:
        folder.chmod(stat.S_IRWXU)


def test_what_is_no_store_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no store .*none: make one with tdb-tui collate"):
        open_store(tmp_path / "none")
    text = tmp_path / "text"
    text.write_text("hello " * 1000)
    with pytest.raises(StoreError, match="text is not a store of tdb-tui: file is not a database"):
        open_store(text)
    with (
        pytest.raises(StoreError, match=r"cannot write .*text: file is not a database"),
        writing(text, TINY),
    ):
        pass
    other = tmp_path / "other"
    sqlite3.connect(other).execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(StoreError, match="other is not a store of tdb-tui: no such table: meta"):
        open_store(other)
    with (
        pytest.raises(StoreError, match=r"cannot write .*: unable to open database file"),
        writing(tmp_path / "no" / "x", TINY),
    ):
        pass


def test_another_models_store_is_refused_for_reading_and_writing(store: Store) -> None:
    with pytest.raises(
        StoreError, match="is about tiny with weights 0123456789abcdef: this model's are 00ff"
    ):
        open_store(store.path, "00ff")
    with (
        pytest.raises(StoreError, match="is about tiny with weights"),
        writing(store.path, Identity("tiny", "00ff")),
    ):
        pass


def test_another_version_is_refused(store: Store) -> None:
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE meta SET value = '9' WHERE key = 'version'")
    with pytest.raises(StoreError, match="is a store of version 9: this tdb-tui reads 2"):
        open_store(store.path)


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    path = fill(tmp_path / "tiny.store")
    finish(path)
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE examples SET slots = substr(slots, 1, length(slots) - 9) WHERE node = 'N0.3'"
        )
    with pytest.raises(StoreError, match=r"tiny.store is damaged: Error -5 .*incomplete"):
        open_store(path).examples("N0.3", Sampling.TOP)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(
        StoreError, match=r"tiny.store is (damaged|not a store of tdb-tui): database disk image is malformed"
    ):
        open_store(path).explanations("N0.3")


def test_looking_a_component_up_takes_few_queries_whatever_it_has(store: Store) -> None:
    """Time is not tested: queries are what it goes with, see `tests/bench/bench_store.py`."""
    asked: list[str] = []
    connection = store._connection  # pyright: ignore[reportPrivateUsage]
    connection.set_trace_callback(asked.append)
    looks = {
        1: (
            lambda: store.statistics("N0.3"),
            lambda: store.explanations("N0.3"),
            lambda: store.notes("N0.3"),
        ),
        2: (lambda: store.examples("N0.3", Sampling.TOP), lambda: store.examples("L0H1", Sampling.TOP)),
    }
    for queries, kinds in looks.items():
        for look in kinds:
            asked.clear()
            assert look() is not None
            assert len(asked) == queries
    asked.clear()
    assert set(store.best([f"N0.{index}" for index in range(1000)])) == {"N0.3"}
    assert len(asked) == 1
    for query in (
        "SELECT * FROM components WHERE node = 'N0.3'",
        "SELECT * FROM explanations WHERE node = 'N0.3'",
        "SELECT * FROM notes WHERE node = 'N0.3'",
        "SELECT * FROM sequences WHERE collation = 1 AND ordinal = 0",
    ):
        [plan] = connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
        assert "SEARCH" in plan["detail"], "an index finds it, nothing is read through"


def test_a_thinned_store_keeps_the_first_of_the_top_and_an_even_choice_of_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "thin.store"
    acts = np.linspace(1, 5, 25, dtype=np.float32).reshape(5, 5)[::-1]
    with writing(path, TINY) as connection:
        number = begin_collation(connection, {}, {"files": []}, (5, 25), [Family("N")])
        put_sequences(connection, number, [Sequence((at, 1, 2, 3, 4), f"document {at}") for at in range(5)])
        found = slots(acts, [4] * 5, [NO_KEY] * 5)
        many = Collated(
            "N0.0",
            Moments(25, 0, 1, 0, 3),
            5.0,
            1.0,
            np.zeros(COUNT, np.int64),
            {Sampling.TOP: found, Sampling.QUANTILE: found},
            words=("", "", "one · two · three"),
        )
        put_component(connection, "N", many)
        thin(connection, {Sampling.TOP: 1, Sampling.QUANTILE: 3}, contexts=2)
    thinned = open_store(path)
    assert [each.source for each in thinned.examples("N0.0", Sampling.TOP)] == ["document 0"]
    kept = thinned.examples("N0.0", Sampling.QUANTILE)
    assert [each.source for each in kept] == ["document 0", "document 2", "document 4"]
    for each, row in zip(kept, acts[[0, 2, 4]], strict=True):
        np.testing.assert_allclose(each.activations, row, atol=0.02)
    assert [hit.text for hit in thinned.search("two", 5)] == ["one · two"] and not thinned.search("three", 5)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT ordinal FROM sequences ORDER BY 1").fetchall() == [(0,), (2,), (4,)]


def test_scores_come_out_as_they_went_in() -> None:
    scores = (
        Score("auc", 0.123456789, 0.1, None, {"top": 5, "random": 2}),
        Score("r2", -1.5, None, None, {"top": 5, "random": 2}),
        Score("detection", 1.0),
    )
    assert unpack_scores(pack_scores(scores)) == scores
    assert [dict(each.samples) for each in unpack_scores(pack_scores(scores))] == [
        {"top": 5, "random": 2},
        {"top": 5, "random": 2},
        {},
    ]
    with pytest.raises(ValueError, match="Error"):
        unpack_scores(b"damaged")
