"""A prompt set in a session: what `over` says is what a loop over the examples says, and one example is one step away."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.about.roles import Role, on_prompt
from model.sets.files import COLUMNS, read_prompts
from model.sets.generators import TASKS
from model.sites import Site
from tdb_tui.cli import main
from tdb_tui.commands import execute
from tdb_tui.contract import RESULTS
from tdb_tui.engine import Engine
from tdb_tui.errors import CommandError
from tdb_tui.session import Session
from tdb_tui.sets.prompt_sets import current, load_examples, start_session
from tests.sessions import END, begin, do, fail, load, said, write_model

ROOT = Path(__file__).parents[1]
SET: list[dict[str, Any]] = [
    {"prompt": " Mary and John went to the store, John gave a drink to", "target": "Mary", "distractor": "John",
     "roles": {"IO": 0, "S1": 2, "S2": 8}, "counterfactual": " Mary and John went to the store, Anna gave a drink to"},
    {"prompt": " John and Anna went to the store, John gave a drink to", "target": "Anna", "distractor": "John",
     "roles": {"S1": 0, "IO": 2, "S2": 8}, "counterfactual": " John and Anna went to the store, Mary gave a drink to"},
    {"prompt": " then Smith and Mary went to the store, Mary gave a drink to", "target": ["Smith", "Anna"],
     "distractor": "Mary", "roles": {"IO": 1, "S1": 3, "S2": 9},
     "counterfactual": " then Smith and Mary went to the store, John gave a drink to"},
    {"prompt": " Anna gave Smith a drink, then Anna went to", "target": "Smith", "distractor": "Anna",
     "roles": {"S1": 0, "IO": 2, "S2": 7}, "counterfactual": " Anna gave Smith a drink, then John went to"},
    {"prompt": " John went to", "target": "Mary", "distractor": "John", "roles": {"S1": 0},
     "counterfactual": " Mary went to"},
]  # fmt: skip
"Of different lengths; the last has fewer roles."


def write_set(path: Path, rows: list[dict[str, Any]] = SET) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), "float64")


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "set.jsonl")
    made = begin(engine)
    do(made, "set measure off", "prompts set.jsonl")
    return made


def each(session: Session) -> Iterator[int]:
    """The session at every example in turn."""
    for number in range(1, len(SET) + 1):
        do(session, f"prompts use {number}")
        yield number


def mean(values: list[float]) -> Any:
    return pytest.approx(np.mean(values), abs=1e-9)


def by_row(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["row"]: row for row in result["rows"]}


def role_names(session: Session, others: bool = True) -> dict[int, str]:
    roles = {pos: name for name, pos in session.state.roles.items()} | {session.state.end: "END"}
    return {pos: roles.get(pos, "other") for pos in range(session.state.end + 1) if others or pos in roles}


@pytest.mark.parametrize(
    ("kinds", "by"),
    [
        ("all", "direct"),
        ("heads", "total"),
        ("pairs @END", "act"),
        ("neurons @END", "norm"),
        ("parts", "total"),
    ],
)
def test_a_ranking_over_a_set_is_what_a_loop_of_single_rankings_says(
    session: Session, kinds: str, by: str
) -> None:
    column = {"norm": "write_norm"}.get(by, by)
    found = by_row(do(session, f"over rank {kinds} by {by} -n 0").result)
    loop: dict[str, list[float]] = {}
    for _ in each(session):
        role, sums = role_names(session), dict[str, float]()
        for row in do(session, f"rank {kinds} by {by} -n 0").result["rows"]:
            part = row["node"].partition("@")[0]
            key = "" if row["key"] is None else f"<{role[row['key']]}"
            name = f"{part}@{role[row['pos']]}{key}"
            sums[name] = sums.get(name, 0.0) + row[column]
        for name, value in sums.items():
            loop.setdefault(name, []).append(value)
    assert set(found) == set(loop)
    for name, values in loop.items():
        row = found[name]
        assert (row["mean"], row["n"]) == (mean(values), len(values))
        assert row["sd"] == pytest.approx(np.std(values), abs=1e-9)
        assert row["sign"] == pytest.approx(np.mean(np.sign(values) == np.sign(np.mean(values))))
        assert row["low"] - 1e-12 <= row["mean"] <= row["high"] + 1e-12
    order = [abs(row["mean"]) for row in found.values()]
    assert order == sorted(order, reverse=True)


def test_components_are_summed_over_the_tokens_of_each_prompt(session: Session) -> None:
    found = by_row(do(session, "over rank heads per component by total -n 0").result)
    loop: dict[str, list[float]] = {}
    for _ in each(session):
        sums: dict[str, float] = {}
        for row in do(session, "rank heads by total -n 0").result["rows"]:
            part = row["node"].partition("@")[0]
            sums[part] = sums.get(part, 0.0) + row["total"]
        for part, value in sums.items():
            loop.setdefault(part, []).append(value)
    assert {name: row["mean"] for name, row in found.items()} == {name: mean(v) for name, v in loop.items()}
    assert {row["n"] for row in found.values()} == {len(SET)}


@pytest.mark.parametrize("kinds", ["all", "heads", "neurons"])
def test_the_books_of_a_set_balance_in_the_mean(session: Session, kinds: str) -> None:
    for line in (f"over rank {kinds} by direct -n 0", f"over rank {kinds} by direct @END -n 3"):
        result = do(session, line).result
        books = result["balance"]
        assert books["target"] == pytest.approx(result["metric"]["mean"], abs=1e-12)
        assert books["difference"] == pytest.approx(0, abs=1e-9)
        assert books["rows"] + books["biases"] + books["rest"] == pytest.approx(books["target"], abs=1e-9)


def test_the_books_of_a_metric_that_is_not_linear_are_those_of_its_linear_part(session: Session) -> None:
    do(session, "set metric prob")
    reply = do(session, "over rank all by direct -n 0")
    books, linear = reply.result["balance"], []
    assert "not linear" in reply.warnings[0] and books["difference"] == pytest.approx(0, abs=1e-9)
    assert reply.result["metric"]["mean"] == mean(do(session, "over metric").result["values"])
    for _ in each(session):
        linear.append(do(session, "rank all by direct -n 0").result["balance"]["target"])
    assert books["target"] == mean(linear)


def test_only_the_rows_of_a_role_or_a_sign_are_shown(session: Session) -> None:
    every = by_row(do(session, "over rank heads by total -n 0").result)
    here = by_row(do(session, "over rank heads by total @S2 -n 0").result)
    assert here == {name: row for name, row in every.items() if row["role"] == "S2"} and here
    assert {row["n"] for row in here.values()} == {len(SET) - 1}
    plus, minus = (by_row(do(session, f"over rank heads by total {sign} -n 0").result) for sign in "+-")
    assert all(row["mean"] > 0 for row in plus.values()) and all(row["mean"] < 0 for row in minus.values())
    assert len(plus) + len(minus) == sum(row["mean"] != 0 for row in every.values())
    deep = by_row(do(session, "over rank neurons by act @S2 -n 0").result)
    assert deep == {
        name: row
        for name, row in by_row(do(session, "over rank neurons by act -n 0").result).items()
        if row["role"] == "S2"
    }


def test_measured_effects_are_those_of_each_prompt(session: Session) -> None:
    found = by_row(do(session, "over rank heads by measured -n 0").result)
    whole = by_row(do(session, "over rank mlps per component by measured -n 0").result)
    loop: dict[str, list[float]] = {}
    parts: dict[str, list[float]] = {}
    for _ in each(session):
        role = role_names(session, others=False)
        for row in do(session, "rank heads by measured -n 0").result["rows"]:
            if row["pos"] in role:
                loop.setdefault(f"{row['node'].partition('@')[0]}@{role[row['pos']]}", []).append(
                    row["measured"]
                )
        for layer in range(4):
            delta = do(session, f"ablate M{layer}").result["delta"]
            parts.setdefault(f"M{layer}", []).append(-delta)
            do(session, "undo")
    assert {name: row["mean"] for name, row in found.items()} == {name: mean(v) for name, v in loop.items()}
    assert {name: row["mean"] for name, row in whole.items()} == {name: mean(v) for name, v in parts.items()}


def test_patched_effects_take_their_values_from_each_counterfactual(session: Session) -> None:
    found = by_row(do(session, "over rank heads by patched @END -n 0").result)
    whole = by_row(do(session, "over rank mlps per component by patched -n 0").result)
    loop: dict[str, list[float]] = {}
    for _ in each(session):
        for part in (
            *(f"L{layer}H{head}@END" for layer in range(4) for head in range(4)),
            "M0",
            "M1",
            "M2",
            "M3",
        ):
            loop.setdefault(part, []).append(-do(session, f"patch {part} from B").result["delta"])
            do(session, "undo")
    assert {name: row["mean"] for name, row in (found | whole).items()} == {
        n: mean(v) for n, v in loop.items()
    }
    for text, why in ((" Mary", "14 tokens and its counterfactual 2"), (None, "no counterfactual")):
        write_set(Path("set.jsonl"), [SET[0], {**SET[0], "counterfactual": text}])
        do(session, "prompts set.jsonl")
        error = fail(session, "over rank heads by patched").error
        assert error is not None and error.message.startswith(f"example 2: {why}")


def test_lens_attention_roles_and_expressions_are_those_of_each_prompt(session: Session) -> None:
    lines = ("lens @S2", "lens @S2 by delta", "attn L1H2 @END", "p rank(' Mary') + final", "metric")
    lens, delta, attn, printed, metric = (by_row(do(session, f"over {line} -n 0").result) for line in lines)
    roles = by_row(do(session, "over roles -n 0").result)
    loop: dict[str, dict[str, list[float]]] = {name: {} for name in ("lens", "delta", "attn")}
    values, finals, induction = [], [], []
    for number in each(session):
        role = role_names(session)
        if number < len(SET):
            for row in do(session, "lens @S2").result["rows"]:
                loop["lens"].setdefault(row["line"], []).append(row["ld"])
                loop["delta"].setdefault(row["line"], []).append(row["delta"])
        sums: dict[str, float] = {}
        for key, weight in enumerate(do(session, "attn L1H2 @END").result["pattern"][session.state.end]):
            sums[role[key]] = sums.get(role[key], 0.0) + weight
        for name, value in sums.items():
            loop["attn"].setdefault(f"L1H2@END<{name}", []).append(value)
        values.append(do(session, "c ;; p rank(' Mary') + final").result["value"])
        finals.append(session.snapshot.now.value)
        score = on_prompt(session.snapshot.now.model, session.snapshot.now.trace).scores[Role.FIRST]
        induction.append(float(score.score[2, 1]))
    for name, table in (("lens", lens), ("delta", delta), ("attn", attn)):
        assert {row: each["mean"] for row, each in table.items()} == {
            k: mean(v) for k, v in loop[name].items()
        }
    assert list(lens) == ["E", "A0", "M0", "A1", "M1", "A2", "M2", "A3", "M3", "U"]
    weighed = sum(row["mean"] * row["n"] for row in attn.values()) / len(SET)
    assert weighed == pytest.approx(1.0)
    assert printed["rank(' Mary') + final"]["mean"] == mean(values)
    assert metric["metric"]["mean"] == mean(finals)
    assert roles["L2H1 first-token"]["mean"] == mean(induction)


def test_other_commands_tables_are_those_of_each_prompt_by_role(session: Session) -> None:
    lines = {"strips by direct": "value", "why L2H1@END<S1": "contrast", "feeds L0H1@END": "edge"}
    over = {line: by_row(do(session, f"over {line} -n 0").result) for line in lines}
    scores = by_row(do(session, "over why L2H1@END<S1 by score -n 0").result)
    likely = do(session, "over logits by prob -n 0").result["rows"]
    loop: dict[str, dict[str, list[float]]] = {line: {} for line in (*lines, "scores")}
    probs: dict[int, list[float]] = {}
    for _ in each(session):
        role = role_names(session)
        sums: dict[str, dict[str, float]] = {line: {} for line in loop}

        def add(line: str, name: str, value: float, sums: dict[str, dict[str, float]] = sums) -> None:
            sums[line][name] = sums[line].get(name, 0.0) + value

        for row in do(session, "strips by direct").result["rows"]:
            for name in ("embed", "mlp", "query", "key"):
                add("strips by direct", f"{name}@{role[row['pos']]}", row[name])
        for row in do(session, "why L2H1@END<S1 -n 0").result["rows"]:
            name = f"{row['side']} {row['node'].partition('@')[0]}@{role[row['pos']]}"
            add("why L2H1@END<S1", name, row["contrast"])
            add("scores", name, row["score"])
        for row in do(session, "feeds L0H1@END -n 0").result["rows"]:
            add("feeds L0H1@END", f"{row['input'].partition('@')[0]}@{role[row['pos']]}", row["edge"])
        for row in do(session, f"logits {session.engine.info.config.n_vocab}").result["rows"]:
            probs.setdefault(row["id"], []).append(row["prob"])
        for line, each_sum in sums.items():
            for name, value in each_sum.items():
                loop[line].setdefault(name, []).append(value)
    for line, found in {**over, "scores": scores}.items():
        means = {name: (row["mean"], row["n"]) for name, row in found.items()}
        assert means == {name: (mean(values), len(values)) for name, values in loop[line].items()}
    assert {row["id"]: row["mean"] for row in likely} == {token: mean(p) for token, p in probs.items()}
    assert [row["mean"] for row in likely] == sorted((row["mean"] for row in likely), reverse=True)


def test_a_tree_over_a_set_has_every_branch_of_each_prompts_tree(session: Session) -> None:
    found = by_row(do(session, "over upstream -n 0").result)
    count: dict[str, float] = {}
    for _ in each(session):
        role = role_names(session)

        for line in do(session, "upstream").result["dot"].splitlines():  # drawn by other code than the tree's
            edge = re.fullmatch(r' *"(.*)" -> "(.*)" \[label="(?:(q|k|qk|v) )?(.*)"\];', line)
            if edge is None:
                continue
            tail, head = (
                re.sub(r"(?<=[@<])\d+", lambda pos, role=role: role[int(pos[0])], edge[at]) for at in (1, 2)
            )
            head = head if " - " not in head else "target"
            name = f"{tail} > {head}" + (f" via {edge[3]}" if edge[3] else "")
            count[name] = count.get(name, 0.0) + float(edge[4])
    assert set(count) == set(found)
    for name, total in count.items():
        assert found[name]["mean"] * found[name]["n"] == pytest.approx(total, rel=1e-2, abs=1e-6)


def test_the_metric_of_every_prompt_is_listed_and_the_extremes_named(session: Session) -> None:
    reply = do(session, "over metric")
    values = reply.result["values"]
    for number in each(session):
        assert session.snapshot.now.value == pytest.approx(values[number - 1], abs=1e-12)
    low, high = int(np.argmin(values)) + 1, int(np.argmax(values)) + 1
    assert f"lowest  example {low} " in said(reply) and f"highest example {high} " in said(reply)


def test_the_interval_is_a_seeds_and_says_how_it_was_made(session: Session) -> None:
    line = "over rank heads by total -n 0"
    first, again, other, few = (
        do(session, f"{line}{options}") for options in ("", " --seed 0", " --seed 1", " --resamples 20")
    )
    assert first.result == again.result and first.lines == again.lines
    bounds = [[(row["low"], row["high"]) for row in reply.result["rows"]] for reply in (first, other, few)]
    assert bounds[0] != bounds[1] and bounds[0] != bounds[2]
    assert first.lines[-1] == "interval: bootstrap over prompts, 1000 resamples, seed 0"
    assert few.result["bootstrap"] == {"resamples": 20, "seed": 0, "level": 0.95}
    assert [row["mean"] for row in first.result["rows"]] == [row["mean"] for row in other.result["rows"]]


def test_pages_of_a_table_are_parts_of_the_whole(session: Session) -> None:
    whole, page = do(session, "over rank heads by total -n 0"), do(session, "over rank heads by total -n 7")
    assert whole.more is None and page.more == "over rank heads by total -n 7 --from 7"
    rows = page.result["rows"] + do(session, page.more).result["rows"]
    assert rows == whole.result["rows"][:14]


@pytest.mark.parametrize(
    "edit", ["ablate L1H2", "ablate M2@S2", "ablate L1H2@END<S1", "patch L2H1@S1 from B@S1"]
)
def test_edits_count_and_follow_the_role_of_their_token(session: Session, edit: str) -> None:
    write_set(Path("set.jsonl"), SET[:4] if "S2" in edit else SET)
    do(session, "prompts set.jsonl", "prompts use 2", edit)
    found = do(session, "over metric").result["values"]
    for number in range(1, len(found) + 1):
        there = begin(session.engine)
        do(there, "prompts set.jsonl", f"prompts use {number}", edit)
        assert there.snapshot.now.value == pytest.approx(found[number - 1], abs=1e-9)
        do(session, f"prompts use {number}")
        assert session.snapshot.now.value == pytest.approx(found[number - 1], abs=1e-9)
        assert session.state.inputs.edits[0].text == there.state.inputs.edits[0].text


def test_an_edit_at_a_token_without_a_role_cannot_be_taken_along(session: Session) -> None:
    do(session, "prompts use 1", "ablate M2@4")
    for line in ("prompts use 2", "over metric"):
        error = fail(session, line).error
        assert error is not None and error.code == "bad-role"
        assert "i1 (ablate M2@4 zero) is at token 4, which has no role here" in error.message
    do(session, "undo", "ablate M2@S2")
    error = fail(session, "over metric").error
    assert error is not None
    assert error.message == "example 5: i2 (ablate M2@9 zero) is at S2: the example has no S2"
    do(session, "disable i2", "over metric")


def test_the_quantity_asked_for_stays_and_is_that_of_each_prompts_own_tokens(session: Session) -> None:
    do(session, "set metric logprob")
    values = do(session, "over metric").result["values"]
    for number in each(session):
        metric = session.snapshot.now.metric
        assert metric.quantity.value == "logprob" and metric.pos == session.state.end
        assert session.snapshot.now.value == pytest.approx(values[number - 1], abs=1e-12)
        words = SET[number - 1]["target"]
        texts = [session.engine.tokenizer.text(token) for token in metric.targets]
        assert texts == [f" {word}" for word in (words if isinstance(words, list) else [words])]


def test_an_example_is_the_prompt_its_counterfactual_b_and_its_roles_names_in_one_undoable_step(
    session: Session,
) -> None:
    do(session, "set pos HERE=3", "ablate M1")
    before, roles, steps = session.snapshot, session.state.roles, len(session.past)
    do(session, "prompts use 3")
    state = session.state
    assert (state.inputs.prompt.text, current(state)) == (SET[2]["prompt"], 3)
    assert state.inputs.prompt_b is not None and state.inputs.prompt_b.text == SET[2]["counterfactual"]
    assert dict(state.roles) == {"IO": 2, "S1": 4, "S2": 10} and state.pos == state.end
    assert len(session.past) == steps + 1
    after = session.snapshot
    do(session, "p L0H1@S2", "undo")
    assert session.state.inputs == before.state.inputs and session.state.roles == roles
    assert session.snapshot.now.value == before.now.value and current(session.state) is None
    do(session, "redo")
    assert session.state.inputs == after.state.inputs and session.state.roles == after.state.roles
    do(session, "prompt Mary went")
    assert current(session.state) is None


def test_next_and_prev_walk_the_set_and_stop_at_its_ends(session: Session) -> None:
    assert fail(session, "prompts prev").error is not None
    seen: list[int | None] = []
    for line in ["prompts next"] * len(SET):
        assert do(session, line).more == "prompts next"
        seen.append(current(session.state))
    assert seen == [1, 2, 3, 4, 5]
    error = fail(session, "prompts next").error
    assert error is not None and error.message == "example 5 is the last: prompts use 1, prompts prev"
    do(session, "prompts prev")
    assert current(session.state) == 4
    assert [line.startswith(">") for line in do(session, "prompts").lines[1:]] == [False] * 3 + [True, False]


def test_what_is_listed_can_be_written_and_read_again(session: Session) -> None:
    do(session, "prompts --out out.jsonl", "prompts --out out.csv")
    given = read_prompts(Path("set.jsonl"), session.engine.tokenizer).examples
    for name in ("out.jsonl", "out.csv"):
        assert read_prompts(Path(name), session.engine.tokenizer).examples == given
    do(session, "over rank heads by direct -n 4 --out t.csv", "over rank heads by direct -n 4 --out t.json")
    rows = list(csv.DictReader(Path("t.csv").read_text(encoding="utf-8").splitlines()))
    told = json.loads(Path("t.json").read_text())["rows"]
    assert [float(row["mean"]) for row in rows] == [row["mean"] for row in told] and len(rows) == 4


def test_a_session_file_and_a_script_bring_the_set_back(session: Session) -> None:
    write_set(Path("set.jsonl"), SET[:4])
    do(session, "prompts set.jsonl", "prompts use 3", "ablate L1H2@S2", "save it.json", "export it.tdb")
    values = do(session, "over metric").result["values"]
    sourced = begin(session.engine)
    do(sourced, "source it.tdb")
    Path("set.jsonl").unlink()
    loaded = begin(session.engine)
    do(loaded, "load it.json")
    for again in (sourced, loaded):
        assert again.state.inputs == session.state.inputs and again.state.examples == session.state.examples
        assert again.state.roles == session.state.roles and current(again.state) == 3
        assert do(again, "over metric").result["values"] == values


@pytest.mark.parametrize(
    "damage", [None, [], {}, {"rows": []}, {"rows": [3]}, {"rows": [{"prompt": " to"}]}, {"name": 3}]
)
def test_a_damaged_set_in_a_session_file_is_refused(session: Session, damage: Any) -> None:
    do(session, "prompts next", "save it.json")
    data = json.loads(Path("it.json").read_text())
    data["examples"] = {**data["examples"], **damage} if damage else damage
    Path("it.json").write_text(json.dumps(data))
    again = begin(session.engine)
    done = execute(again, "load it.json")[-1]
    if damage is None:
        assert done.ok and current(again.state) is None
    else:
        assert done.error is not None and done.error.message.startswith("it.json is damaged: ")


def test_runs_over_a_set_are_forgotten_and_what_was_kept_stays(session: Session) -> None:
    do(session, "prompts use 2", "rank")
    kept, traces = session.snapshot.now, dict(session.engine.runs.traces)
    do(session, "over rank heads by total", "over metric")
    assert session.snapshot.now is kept and dict(session.engine.runs.traces) == traces
    ran = session.engine.sites_run
    do(session, "rank", "lens", "logits")
    assert session.engine.sites_run == ran and session.engine.progress == ""


@pytest.mark.parametrize("line", ["over metric", "over rank heads by total", "over rank heads by measured"])
def test_a_set_can_be_cancelled_and_progress_is_told(
    session: Session, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    usual: Callable[..., Any] = session.engine.stop_here

    def stop(site: Site, layer: int, x: Any) -> Any:
        told.append(session.engine.progress)
        if session.engine.progress == "3/5":
            session.engine.interrupt.set()
        return usual(site, layer, x)

    monkeypatch.setattr(session.engine, "stop_here", stop)
    session.engine.forget()
    before, traces = session.snapshot, dict(session.engine.runs.traces)
    done = execute(session, line)[-1]
    session.engine.interrupt.clear()
    assert done.interrupted and session.snapshot is before
    assert list(dict.fromkeys(told)) == ["", "1/5", "2/5", "3/5"]
    assert session.engine.progress == "" and dict(session.engine.runs.traces) == traces


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("over", "over which table: over rank heads by direct, over metric"),
        ("over rnak", "no table 'rnak' over a set: did you mean 'rank'?"),
        ("over rank haeds", "unknown word 'haeds': did you mean 'heads'?"),
        ("over rank by totl", "by which measure: total, direct, measured, patched, norm, act"),
        ("over rank @S3", "no role 'S3' in the set: it has IO, S1, S2, END"),
        ("over rank heads @END per component", "per component adds up every token: leave out a token"),
        ("over rank heads per layer", "over a set: by role, or per component"),
        ("over attn M1", "M1 has no attention pattern: name a head"),
        ("over print kind", "kind is text: a number has a mean"),
        ("over p foo", "unknown name 'foo' in expression: did you mean 'final'? (!foo for Python)"),
        ("prompts use 6", "no example 6: the set has 1 to 5"),
        ("prompts use", "prompts use which example: prompts use 1"),
        ("prompts oi", "no prompts 'oi': did you mean 'ioi'?"),
        ("prompts xyz", "no prompts 'xyz': a .jsonl or .csv file, or ioi, greater-than, docstring, pronoun, agreement, induction"),
        ("prompts ioi:x", "'ioi:x' is no prompt set: write ioi, ioi:200 or ioi:200:7 (count and seed)"),
        ("prompts nope.jsonl", "cannot read nope.jsonl: no such file or directory"),
        ("prompts set.jsonl --seed 3", "set.jsonl is not drawn: a seed is for ioi, greater-than, docstring, pronoun, agreement, induction"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_sentence(session: Session, line: str, message: str) -> None:
    before = session.snapshot
    error = fail(session, line).error
    assert error is not None and error.message == message
    assert session.snapshot is before


def test_a_name_of_two_tokens_is_refused_with_its_line(session: Session) -> None:
    write_set(Path("bad.jsonl"), [SET[0], {**SET[1], "target": "Anna Mary"}])
    error = fail(session, "prompts bad.jsonl").error
    assert error is not None
    assert error.message == "bad.jsonl:2: target must be one token: ' Anna Mary' is 2 (' Anna', ' Mary')"
    write_set(Path("long.jsonl"), [SET[0], {**SET[1], "prompt": " to" * 24, "roles": {}}])
    error = fail(session, "prompts long.jsonl").error
    assert error is not None
    assert error.message == "example 2 has 25 tokens: random reads at most 24"


def test_without_a_set_there_is_no_table(engine: Engine) -> None:
    session = begin(engine)
    error = fail(session, "over metric").error
    assert error is not None
    assert error.message == "no prompt set: prompts ioi:50, prompts FILE.jsonl, or --prompts"
    assert do(session, "prompts").result == {"rows": []}


def test_a_session_begins_at_the_first_example_or_at_a_prompt_beside_the_set(
    engine: Engine, tmp_path: Path
) -> None:
    path = str(write_set(tmp_path / "my set.jsonl"))
    for bos in (True, False):
        first, _ = start_session(engine, None, prompts=path, bos=bos)
        assert current(first.state) == 1 and first.state.inputs.prompt.bos is bos
        again = begin(engine)
        do(again, *first.opening)
        assert again.state.inputs == first.state.inputs and again.state.roles == first.state.roles
    beside, _ = start_session(engine, " Mary went to", ["John"], prompts=path)
    assert current(beside.state) is None and beside.state.end == 3
    do(beside, "prompts next")
    assert current(beside.state) == 1 and beside.state.end == END
    assert begin(engine).state.examples is None


def test_the_command_line_takes_a_set_in_place_of_a_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, path = str(write_model(tmp_path / "random")), str(write_set(tmp_path / "set.jsonl"))
    start = ["tdb-tui", "--model", model, "--prompts", path]
    monkeypatch.setattr("sys.argv", [*start, "--json", "-e", "over metric", "-e", "prompts use 2"])
    assert main() == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["result"]["values"][1] == second["result"]["value"]
    monkeypatch.setattr("sys.argv", [*start, "--target", "Mary"])
    assert main() == 2
    assert "belong to a PROMPT" in capsys.readouterr().err


@pytest.fixture(scope="module")
def demo() -> Engine:
    return load(ROOT / "model" / "demo" / "gpt2-demo")


@pytest.mark.parametrize("task", TASKS)
def test_every_generator_works_with_the_bundled_models_words(demo: Engine, task: str) -> None:
    session, _ = start_session(demo, None, prompts=f"{task}:3:5")
    reply = do(session, "over rank heads by direct @END -n 3")
    assert [row["n"] for row in reply.result["rows"]] == [3] * 3
    values = do(session, "over metric").result["values"]
    for number, value in enumerate(values, 1):
        assert do(session, f"prompts use {number}").result["value"] == pytest.approx(value, abs=1e-5)
    assert load_examples(demo, task, 3, 5) == load_examples(demo, f"{task}:3:5") == session.state.examples
    with pytest.raises(CommandError, match="at least 1 was expected"):
        load_examples(demo, f"{task}:0")


def test_the_answers_hold_the_keys_of_the_contract(session: Session) -> None:
    told = [
        do(session, line).result for line in ("over metric", "over rank heads by direct -n 2", "over lens")
    ]
    assert all(set(RESULTS["over"]) <= set(result) for result in told)
    assert set(told[1]["rows"][0]) == {
        "row", "kind", "layer", "index", "role", "key", "mean", "sd", "low", "high", "sign", "n"
    }  # fmt: skip
    listed = do(session, "prompts").result
    assert set(RESULTS["prompts"]) <= set(listed)
    assert {*COLUMNS} == set(listed["rows"][0]) and len(listed["rows"]) == len(SET)
