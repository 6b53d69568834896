"""Other commands' tables over the prompt set: rows of the same name are one row, tokens called by their roles."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from model.sets.prompts import END, OTHER, Encoded
from tdb_tui.commands.attending import why
from tdb_tui.commands.circuits import upstream
from tdb_tui.commands.feeding import feeds
from tdb_tui.commands.strips import token_effects
from tdb_tui.commands.table import registry
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.formats import quoted
from tdb_tui.language.parsing import Call, Word, parse_line
from tdb_tui.replies import Reply
from tdb_tui.session import Session
from tdb_tui.sets.prompt_sets import each_session, encode_all
from tdb_tui.sets.tables import Rows, as_rows
from tdb_tui.tables.strips import NAMES

TOKEN = re.compile(r"(?<=[@<])\d+")
Result = Mapping[str, Any]
Named = Iterator[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Keyed:
    """A command whose answer to one prompt is a table of named numbers."""

    act: Callable[[Session, Call], Reply]
    rows: Callable[[Result, str], Named]
    "The rows of an answer by a measure, named with tokens as numbers: `M0@4`, `L5H0@14<2`."
    by: tuple[str, ...]
    "Measures, the usual one first."
    own: bool = False
    "Whether the command itself takes `by`."
    every: bool = True
    "Whether it shows every row where `-n 0` is said."


def _strip_rows(result: Result, _: str) -> Named:
    for row in result["rows"]:
        yield from ((f"{name}@{row['pos']}", row[name]) for name in NAMES)


def _why_rows(result: Result, by: str) -> Named:
    yield from ((f"{row['side']} {row['node']}", row[by]) for row in result["rows"])


def _edge_rows(result: Result, _: str) -> Named:
    yield from ((row.get("input") or row["node"], row["edge"]) for row in result["rows"])


def _branch_rows(result: Result, _: str) -> Named:
    def below(branch: Result, name: str) -> Named:
        way = f" via {branch['via']}" if branch["via"] else ""  # through which it was opened
        for each in branch["children"]:
            yield f"{each['node']} > {name}{way}", each["effect"]
            yield from below(each, each["node"])

    yield from below(result["tree"], "target")


KEYED: Mapping[str, Keyed] = {
    "strips": Keyed(token_effects, _strip_rows, ("total", "direct"), own=True, every=False),
    "why": Keyed(why, _why_rows, ("contrast", "score")),
    "feeds": Keyed(feeds, _edge_rows, ("edge",)),
    "upstream": Keyed(upstream, _branch_rows, ("effect",), every=False),
}
"What `over` takes in front of the command's own words."


def keyed_rows(session: Session, name: str, words: Sequence[Word]) -> tuple[Rows, str]:
    """A command's rows on every example, and by which measure.  Raises CommandError as the command does.

    Rows that have one name in an example, such as those of its tokens without a role, are added up.
    """
    table = KEYED[name]
    by, left = _measure(table, words)
    line = " ".join([name, *left, *([f"by {by}"] if table.own else []), *(["-n 0"] if table.every else [])])
    (call,) = parse_line(line, registry.takes_value)
    found: list[Mapping[str, float]] = []
    metric: list[float] = []
    examples = encode_all(session)
    with closing(each_session(session)) as run:
        for number, (there, example) in enumerate(zip(run, examples, strict=True), 1):
            metric.append(there.snapshot.now.value)
            try:
                said = table.act(there, call).result
            except CommandError as error:
                raise replace(error, message=f"example {number}: {error.message}", col=None) from None
            found.append(_summed(table.rows(said, by), example))
    return as_rows(found, metric).ranked(), by


def _measure(table: Keyed, words: Sequence[Word]) -> tuple[str, list[str]]:
    """What `by` asks for, and the other words as they were typed."""
    typed = [word.text for word in words]
    if "by" not in typed:
        return table.by[0], typed
    at = typed.index("by")
    by = typed[at + 1] if at + 1 < len(typed) else ""
    if by not in table.by:
        right = did_you_mean(by, table.by) or f": {', '.join(table.by)}"
        raise CommandError(f"by which measure{right}", "bad-argument", col=words[at].col)
    return by, [*typed[:at], *typed[at + 2 :]]


def _summed(rows: Named, example: Encoded) -> dict[str, float]:
    role = {str(pos): name for name, pos in example.roles.items()}
    sums: dict[str, float] = {}
    for name, value in rows:
        name = TOKEN.sub(lambda token: role.get(token[0], OTHER), name)
        sums[name] = sums.get(name, 0.0) + value
    return sums


LIKELIHOODS = ("logit", "logprob", "prob")


def logit_rows(session: Session, words: Sequence[Word], role_of: Callable[[Word], str]) -> tuple[Rows, str]:
    """Every token of the vocabulary after the token with a role, the largest mean first."""
    by, role = LIKELIHOODS[0], END
    left = iter(words)
    for word in left:
        if word.text == "by":
            given = next(left, None)
            if given is None or given.text not in LIKELIHOODS:
                raise CommandError(f"by which: {', '.join(LIKELIHOODS)}", "bad-argument", col=word.col)
            by = given.text
        elif word.text.startswith("@"):
            role = role_of(word)
        else:
            raise CommandError(
                f"unexpected {word.text!r}: over logits @END by prob", "bad-argument", col=word.col
            )
    found, metric = list[Any](), list[float]()
    with closing(each_session(session)) as run:
        for there, example in zip(run, encode_all(session), strict=True):
            snapshot = there.snapshot
            metric.append(snapshot.now.value)
            if role not in example.roles:
                found.append(np.full(snapshot.info.config.n_vocab, np.nan))
                continue
            logits = snapshot.now.logits(example.roles[role])
            logprobs = logits - np.logaddexp.reduce(logits)
            found.append({"logit": logits, "logprob": logprobs, "prob": np.exp(logprobs)}[by])
    values = np.stack(found)
    order = np.argsort(-np.nanmean(values, axis=0), kind="stable")
    names = tuple(quoted(session.engine.tokenizer, int(token)) for token in order)
    fields = [{"token": session.engine.tokenizer.text(int(token)), "id": int(token)} for token in order]
    return Rows(names, values[:, order], np.array(metric), fields), by
