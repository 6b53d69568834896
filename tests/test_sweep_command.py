"""`sweep`: its numbers are those of the edits that its cells name; over a set they are means; files hold all of it."""

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.cells import cell_len
from torch import Tensor

from model.sets.statistics import summary
from model.sites import Site
from tdb_tui.commands import execute
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tdb_tui.sweeps.heat import heat_table
from tdb_tui.sweeps.values import Picture
from tests.sessions import END, PROMPT, SHAPE, begin, do, fail, load, said, write_model

DEMO = Path(__file__).parents[1] / "model" / "demo" / "gpt2-demo"
LONGER = " then Mary and John went to the drink, Anna gave John a drink to"
"Of another length; ` and`, ` gave`, `START` and `END` and some more are in both."
VECTOR = 'dir(" Mary" - " John")'


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), "float64")


@pytest.fixture(scope="module")
def demo() -> Engine:
    return load(DEMO)


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return begin(engine)


def swept(session: Session, line: str) -> Picture:
    do(session, line)
    assert session.sweep is not None
    return session.sweep


KINDS = (
    "patch resid_pre", "patch resid_mid", "patch resid_post @2:5", "patch attn_out", "patch mlp_out in L1-2",
    "patch heads", "patch heads @END", "patch q", "patch k @10", "patch v", "patch pattern in L1,L3H0",
    "patch v by position in L2", "patch pairs L2H1", "patch edges L3H0 @9:13",
    "ablate heads", "ablate heads @END scale -1", "ablate resid_mid", "ablate pairs L1H2 cut",
    "ablate heads by position in L1H2,L0H0", "ablate mlp_out noise 0.5 seed 3",
    f"steer resid_pre.1@END += -2:2:5 * {VECTOR}", "steer N1.5,N2.7@END += -1:3:3",
)  # fmt: skip


@pytest.mark.parametrize(
    ("before", "line"),
    [
        *(("set pos S=10", line) for line in KINDS),
        *(("ablate L1H1 ;; set pos IO=1", line) for line in KINDS[::4]),
    ],
)
def test_a_cell_is_what_its_command_makes_of_the_metric(session: Session, line: str, before: str) -> None:
    """Looked at in some cells of every grid: in all its rows and columns."""
    do(session, before)
    found = swept(session, f"sweep {line}")
    rows, columns = found.shape
    assert found.baseline == pytest.approx(session.snapshot.now.value, abs=1e-9)
    looked = 0
    for row in range(max(rows, columns)):
        at = row % rows, (3 * row + 1) % columns
        command, value = found.commands[at[0]][at[1]], found.values[at]
        assert bool(command) == (value == value) == bool(found.nodes[at[0]][at[1]])
        if command:
            do(session, command)
            assert session.snapshot.now.value == pytest.approx(value, abs=1e-9), command
            do(session, "undo")
            looked += 1
    assert looked


def test_fractions_go_from_0_at_a_to_1_at_b_and_into_b_the_other_way(session: Session) -> None:
    found = swept(session, "sweep patch resid_pre")
    a, b = session.snapshot.now.value, session.snapshot.other
    assert b is not None and found.ends == ("A", "B")
    assert found.fractions is not None
    np.testing.assert_allclose(found.fractions, (found.values - a) / (b.value - a), atol=1e-12)
    whole = swept(session, "sweep patch resid_post @END")
    assert whole.fractions is not None and whole.fractions[-1, 0] == pytest.approx(1.0, abs=1e-9)
    into = swept(session, "sweep patch resid_pre into B")
    assert into.ends == ("B", "A")
    assert (into.baseline, into.other) == pytest.approx((b.value, a), abs=1e-9)
    do(session, "swap")
    np.testing.assert_allclose(swept(session, "sweep patch resid_pre").values, into.values, atol=1e-12)
    do(session, "swap")
    do(session, into.commands[1][10])
    assert session.snapshot.now.value == pytest.approx(into.values[1, 10], abs=1e-9)


def test_a_prompt_b_that_is_the_prompt_gives_the_baseline_everywhere_and_no_scale(session: Session) -> None:
    do(session, f'prompt B "{PROMPT}"')
    for line in ("sweep patch resid_pre", "sweep patch heads", "sweep patch k", "sweep patch pairs L3H1"):
        reply = do(session, line)
        found = session.sweep
        assert found is not None and found.fractions is None
        assert set(found.values[~np.isnan(found.values)].tolist()) == {found.baseline}
        assert "every cell is the baseline, exactly" in reply.lines
        assert reply.result["normalised"] is None


def test_asking_again_runs_nothing_until_something_has_changed(session: Session) -> None:
    lines = ("sweep patch resid_pre", "sweep ablate heads", "sweep patch q by position --top 2")
    first = [swept(session, line).values for line in lines]
    ran = session.engine.sites_run
    again = [swept(session, line).values for line in lines]
    assert session.engine.sites_run == ran
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    do(session, "ablate L0H0")
    assert not np.array_equal(swept(session, lines[1]).values, first[1])
    do(session, "undo")
    ran = session.engine.sites_run
    np.testing.assert_array_equal(swept(session, lines[1]).values, first[1])
    assert session.engine.sites_run == ran


def test_what_is_stopped_is_kept_and_goes_on(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    do(session, "ablate M3@END scale 0.9")
    session.engine.forget()
    stop_here, count, limit = session.engine.stop_here, 0, 1 << 30

    def stopping(site: Site, layer: int, x: Tensor) -> Tensor:
        nonlocal count
        count += 1
        if count == limit:
            session.engine.interrupt.set()
        return stop_here(site, layer, x)

    monkeypatch.setattr(session.engine, "stop_here", stopping)
    session.go(session.state)
    count, line = 0, "sweep ablate heads by position in L0-3"
    whole = swept(session, line).values
    total = count
    session.engine.sweeps.clear()
    count, limit = 0, total // 2
    done = fail(session, line)
    assert done.interrupted and done.error is not None
    assert "cells are measured and kept, the same command goes on from there" in done.error.message
    part = session.sweep
    assert part is not None and session.snapshot.sweep is part
    known = ~np.isnan(part.values)
    assert 0 < known.sum() < known.size
    np.testing.assert_array_equal(part.values[known], whole[known])
    count, limit = 0, 1 << 30
    np.testing.assert_allclose(swept(session, line).values, whole, atol=1e-9)
    assert count < total
    assert session.engine.progress == ""


def test_prompts_of_two_lengths_are_matched_by_role_and_say_what_is_left_out(session: Session) -> None:
    do(session, f'prompt B "{LONGER}"')
    reply = do(session, "sweep patch resid_pre")
    found = session.sweep
    assert found is not None
    assert any(note.startswith("no counterpart in B, and so left out: ") for note in reply.warnings)
    assert "END" in found.columns.labels and "and" in found.columns.labels
    assert len(found.columns) + len(found.left_out) == END + 1
    for row, column in ((1, found.columns.labels.index("and")), (2, found.columns.labels.index("gave"))):
        do(session, found.commands[row][column])
        assert session.snapshot.now.value == pytest.approx(found.values[row, column], abs=1e-9)
        do(session, "undo")
    heads = swept(session, "sweep patch heads")
    do(session, heads.commands[2][1])  # several commands: the tokens do not stand together
    assert session.snapshot.now.value == pytest.approx(heads.values[2, 1], abs=1e-9)
    assert fail(session, "sweep patch pattern").error is not None


def test_the_heads_that_go_token_by_token_are_those_that_do_most(session: Session) -> None:
    whole = swept(session, "sweep ablate heads")
    found = swept(session, "sweep ablate heads by position --top 3")
    assert list(found.rows.labels) == [whole.nodes[row][column] for row, column in whole.top(3)]


def test_a_selected_frame_is_swept_instead_of_the_metric_and_has_no_scale(session: Session) -> None:
    do(session, "trace L3H1@END<Mary via q")
    found = swept(session, "sweep patch resid_pre")
    assert found.fractions is None and found.ends == ("A", "")
    assert found.baseline == pytest.approx(session.snapshot.asked.value, abs=1e-9)
    assert found.values[0, END] == found.baseline  # the token is the same
    assert found.values[2, END] != found.baseline


# Over a set.


@pytest.fixture(scope="module")
def on_set(demo: Engine) -> Session:
    session = begin(demo)
    do(session, "prompts ioi:6:3", "prompts use 1")
    return session


def test_over_prompts_a_cell_is_the_mean_of_the_prompts_cells_by_role(on_set: Session) -> None:
    session, roles = on_set, ("IO", "S1", "S2", "END")
    for line in ("patch resid_mid", "ablate attn_out"):
        over = swept(session, f"sweep {line} over prompts")
        singles = []
        for number in range(1, 7):
            do(session, f"prompts use {number}")
            one = swept(session, f"sweep {line}")
            columns = [one.columns.labels.index(role) for role in roles]
            singles.append(one.values[:, columns] - one.baseline)
        do(session, "prompts use 1")
        columns = [over.columns.labels.index(role) for role in roles]
        np.testing.assert_allclose(over.effects[:, columns], np.mean(singles, 0), atol=1e-4)
        spread = summary(np.array(singles))
        raw = swept(session, f"sweep {line} over prompts --raw")
        np.testing.assert_allclose(raw.spread.low[:, columns], spread.low, atol=1e-4)
        np.testing.assert_allclose(raw.spread.high[:, columns], spread.high, atol=1e-4)
        assert set(over.spread.n[:, columns].ravel().tolist()) == {6}


def test_over_prompts_a_fraction_is_a_ratio_of_means(on_set: Session) -> None:
    found = swept(on_set, "sweep patch heads over prompts")
    metric = do(on_set, "over metric").result["metric"]["mean"]
    assert found.baseline == pytest.approx(metric, abs=1e-5)
    assert found.fractions is not None and found.other is not None
    np.testing.assert_allclose(
        found.fractions, (found.values - found.baseline) / (found.other - found.baseline), atol=1e-9
    )
    low, high = found.spread.low, found.spread.high
    inside = (low <= found.fractions + 1e-9) & (found.fractions <= high + 1e-9)
    assert inside.mean() > 0.9


def test_over_prompts_every_token_is_in_a_role_or_among_the_others(on_set: Session) -> None:
    found = swept(on_set, "sweep patch resid_pre over prompts")
    assert found.columns.labels[0] == "START" and found.columns.labels[-2:] == ("END", "other")
    assert found.values[0, 0] == found.baseline  # the same token in every prompt
    other = list(found.columns.labels).index("other")
    assert not any(row[other] for row in found.commands)  # no one line makes it
    assert all(row[1] for row in found.commands)


def test_one_role_over_prompts_is_that_column(on_set: Session) -> None:
    whole = swept(on_set, "sweep patch resid_pre over prompts")
    one = swept(on_set, "sweep patch resid_pre @S2 over prompts")
    assert one.columns.labels == ("S2",)
    np.testing.assert_allclose(one.values[:, 0], whole.values[:, whole.columns.labels.index("S2")], atol=1e-5)


def test_steering_over_prompts_follows_the_role(on_set: Session) -> None:
    found = swept(on_set, f"sweep steer resid_pre.2@END += -1:1:3 * {VECTOR} over prompts")
    assert found.effects[0, 1] == 0.0
    assert found.found.values.shape == (6, 1, 3)
    assert not np.isnan(found.values).any()


def test_on_the_bundled_model_the_sweep_finds_the_bands_of_s2_and_end(demo: Engine) -> None:
    """Which name is doubled stands at S2 in the middle layers and at END in the late ones.

    The counterfactual has three other names, so the tokens of IO and S1 carry their names in every layer: where the
    answer goes is seen at the tokens after them.
    """
    session = begin(demo)
    do(session, "prompts ioi:16:1", "prompts use 1")
    for line in ("sweep patch resid_pre over prompts", "sweep patch resid_pre"):
        found = swept(session, line)
        labels, fractions = list(found.columns.labels), found.fractions
        assert fractions is not None
        first = labels.index("S1") + 1
        later = [labels[first + int(at)] for at in np.abs(fractions[:, first:]).argmax(1)]
        n_layer = len(later)
        assert later[1 : n_layer // 2] == ["S2"] * (n_layer // 2 - 1), line
        assert later[-n_layer // 3 :] == ["END"] * (n_layer // 3), line
        assert later == sorted(later, key=["S2", "END"].index)  # one band after the other
        for band, rows in (("S2", range(1, n_layer // 2)), ("END", range(n_layer - n_layer // 3, n_layer))):
            assert all(fractions[row, labels.index(band)] > 0.5 for row in rows), (line, band)
        assert abs(fractions[0, labels.index("END")]) < 0.05 and abs(fractions[-1, labels.index("S2")]) < 0.05


# What it says.


def test_the_json_has_axes_values_and_baseline(session: Session) -> None:
    result = do(session, "sweep patch heads").result
    rows, columns = result["axes"]
    assert (rows["name"], columns["name"]) == ("layer", "head")
    assert len(rows["labels"]) == SHAPE.n_layer and len(columns["labels"]) == SHAPE.n_head
    for key in ("values", "effects", "normalised", "nodes", "commands"):
        assert np.shape(result[key]) == (SHAPE.n_layer, SHAPE.n_head)
    assert result["ends"] == {"0": "A", "1": "B"}
    values = np.array(result["values"])
    np.testing.assert_allclose(values - result["baseline"], np.array(result["effects"]))
    pairs = do(session, "sweep patch pairs L1H1").result
    assert pairs["values"][0][1] is None and pairs["nodes"][0][1] == ""


def test_raw_and_normalised_are_two_looks_at_one_sweep(session: Session) -> None:
    do(session, "sweep patch heads")
    ran = session.engine.sites_run
    assert do(session, "sweep show raw").result["shown"] == "effects"
    assert do(session, "sweep").result["shown"] == "effects"
    assert do(session, "sweep show normalised").result["shown"] == "normalised"
    assert do(session, "sweep patch heads --raw").result["shown"] == "effects"
    assert session.engine.sites_run == ran
    assert "1 = B" in said(do(session, "sweep show"))


def test_a_sweep_of_a_run_that_is_no_more_says_so(session: Session) -> None:
    do(session, "sweep patch heads", "ablate L0H0")
    assert do(session, "sweep show").warnings == (
        "it is of the run as it was before: the same command measures this one",
    )
    do(session, "undo")
    assert do(session, "sweep show").warnings == ()


@pytest.mark.parametrize("line", KINDS)
def test_the_text_fits_80_columns_and_ascii_lists_the_largest(session: Session, line: str) -> None:
    reply = do(session, f"sweep {line} -n 3")
    found = session.sweep
    assert found is not None
    table = heat_table(found)
    assert all(cell_len(text) <= 80 for text in table)
    assert set(table) <= set(reply.lines)
    for row, column in found.top(1):
        assert any(text.split()[:2] == ["1", found.nodes[row][column]] for text in reply.lines)


def test_files_hold_every_cell(session: Session, tmp_path: Path) -> None:
    do(session, "set pos A=5")
    found = swept(session, "sweep patch pairs L2H1 --out map.tsv")
    for name in ("map.json", "map.svg", "map.csv"):
        do(session, f"sweep show --out {name}")
    with (tmp_path / "map.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    cells = [(row, column) for row in range(END + 1) for column in range(row + 1)]
    assert len(rows) == len(cells)
    for (row, column), line in zip(cells, rows, strict=True):
        assert line["node"] == found.nodes[row][column]
        assert float(line["value"]) == found.values[row, column]
    saved = json.loads((tmp_path / "map.json").read_text())
    assert saved["values"][3][1] == found.values[3, 1] and saved["values"][1][3] is None
    svg = ElementTree.parse(tmp_path / "map.svg").getroot()
    titles = [node.text or "" for node in svg.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == len(cells)
    assert any(title.startswith(f"{found.nodes[5][2]}  value ") for title in titles)
    texts = [node.text for node in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"A", "END", "query ↓", "key →"} <= set(texts)


def test_the_svg_escapes_what_tokens_hold(demo: Engine, tmp_path: Path) -> None:
    session = begin(demo, "When <b> & \x07 went", "When <i> & \x07 went")
    do(session, f"sweep patch resid_pre --out {tmp_path / 'map.svg'}")
    text = (tmp_path / "map.svg").read_text()
    ElementTree.fromstring(text)
    assert "<b>" not in text and "\x07" not in text


REFUSED = (
    ("sweep", "missing-argument"),
    ("sweep bake heads", "bad-argument"),
    ("sweep patch", "missing-argument"),
    ("sweep patch hesds", "bad-argument"),
    ("sweep patch heads @99", "bad-position"),
    ("sweep patch heads by", "bad-argument"),
    ("sweep patch resid_pre by position", "bad-argument"),
    ("sweep patch heads by position @END", "bad-argument"),
    ("sweep patch heads in M1", "bad-node"),
    ("sweep patch heads in L9", "bad-node"),
    ("sweep patch pairs", "missing-argument"),
    ("sweep patch pairs M1", "bad-node"),
    ("sweep patch pairs L1H1@3", "bad-node"),
    ("sweep patch heads from C", "bad-argument"),
    ("sweep patch heads from 3", "no-prompts"),
    ("sweep patch heads zero", "bad-argument"),
    ("sweep ablate heads sideways", "bad-mode"),
    ("sweep ablate heads mean", "no-means"),
    ("sweep ablate heads cut", None),
    ("sweep ablate heads into B", "bad-argument"),
    ("sweep patch heads over prompts", "no-prompts"),
    ("sweep steer resid_pre.1@END", None),
    (f"sweep steer resid_pre.1@END += -4:4:1 * {VECTOR}", "bad-number"),
    ("sweep steer N1.5 clamp 0 1", "bad-argument"),
    ("sweep show sideways", "missing-argument"),
    ("sweep ablate heads value 1e300", "not-finite"),
)


@pytest.mark.parametrize(("line", "code"), REFUSED)
def test_what_cannot_be_swept_is_refused_in_one_sentence(
    session: Session, line: str, code: str | None
) -> None:
    before = session.snapshot
    error = fail(session, line).error
    assert error is not None and (code is None or error.code == code), error
    assert "\n" not in error.message and not error.message.endswith(".")
    assert session.snapshot is before and session.sweep is None


def test_without_a_prompt_b_there_is_nothing_to_patch_from(engine: Engine) -> None:
    session = begin(engine, prompt_b=None)
    for line in ("sweep patch heads", "sweep patch heads into B"):
        error = fail(session, line).error
        assert error is not None and error.code == "no-prompt-b"
    assert execute(session, "sweep ablate heads")[-1].ok
    error = fail(session, "sweep show normalised").error
    assert error is not None and "only a patch from B has a scale" in error.message
