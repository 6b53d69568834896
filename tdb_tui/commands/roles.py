"""`roles`: what heads do, on random tokens said twice and on the prompt, and which tokens show it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from model.about.reads import impossible, untrained
from model.about.role_scores import NEEDED, Role
from model.about.roles import Roles, on_prompt, repeated_sequences, roles_of, suggest
from model.components import Component, Kind
from model.trace import Trace, record
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.language.arguments import node_word, option_integer
from tdb_tui.language.parsing import Call, Word
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session, Snapshot
from tdb_tui.settings import seed_of

ROWS = 12
LENGTH, BATCH = 25, 8
NEGATIVE = "negative-copying"
NAMES = (*(role.value for role in Role), NEGATIVE)
SHORT = {
    Role.PREVIOUS: "prev", Role.DUPLICATE: "dup", Role.INDUCTION: "induct", Role.FIRST: "first", Role.COPYING: "copy",
}  # fmt: skip
SOURCES = ("random", "prompt")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The words of the command."""

    role: str = ""
    "All heads by this one; empty is each head's main role."
    heads: tuple[Component, ...] = ()
    "All roles of these; empty is every head."
    sources: tuple[str, ...] = SOURCES


@dataclass(frozen=True, slots=True)
class Row:
    """One role of one head, and where it shows most."""

    head: Component
    role: str
    on: str
    found: Roles

    @property
    def of(self) -> Role:
        return Role.COPYING if self.role == NEGATIVE else Role(self.role)

    @property
    def at(self) -> tuple[int, int]:
        return self.head.layer, self.head.index or 0

    def score(self, role: Role) -> float:
        return float(self.found.scores[role].score[self.at])

    @property
    def example(self) -> tuple[int, int, int] | None:
        """The strongest: sequence, query, key."""
        sequence, query, key = (int(x) for x in self.found.scores[self.of].example[self.at])
        return None if query < 0 else (sequence, query, key)

    @property
    def strength(self) -> float:
        return float(self.found.scores[self.of].strength[self.at])


@command(
    "roles",
    usage="[ROLE|HEAD] [on prompt|random] [-n N] [--seed S]",
    group="tracing",
    options={"n": True, "seed": True},
    complete=("node",),
    examples=("roles induction on random", "roles L1H3"),
)
def roles(session: Session, call: Call) -> Reply:
    """What heads do: previous-token, duplicate-token, induction, copying, negative-copying, resting on the first token.

    on random  random tokens said twice, all different, without the session's edits (`--seed` draws others)
    on prompt  this prompt, edits included; without either, both

    The scores are mean attention to the token before, to earlier equal tokens, to those after them, to the first;
    copying is the correlation of attention to a token with what the head adds to its logit, below 0 negative copying
    (Olsson et al. 2022, Wang et al. 2022).  A role's name ranks every head by it, a head's shows all of its scores,
    and neither shows the heads whose role is clear: attention from 0.3, correlation from 0.5 on.

    `strongest` is where it shows most: at which token the head reads which, and with how much attention; for copying
    attention x logits.  TransformerLens' names (`induction_head`) are understood.
    """
    wanted = _read(session.snapshot, call)
    count = option_integer(call, "n", ROWS, "a number of rows")
    lines: list[str] = []
    result: list[dict[str, object]] = []
    for source in wanted.sources:
        title, found = _found(session, call, source)
        rows = [*_rows(wanted, source, found)]
        shown = rows[: count or len(rows)]
        lines += (title, *_table(session.snapshot, shown))
        lines += [f"{len(rows) - len(shown)} more: -n 0"] if len(shown) < len(rows) else []
        result += [_row(session.snapshot, row) for row in shown]
    return Reply(tuple(lines), {"rows": result})


def _read(snapshot: Snapshot, call: Call) -> Wanted:
    words, role, heads, sources = list(call.args), "", (), SOURCES
    while words:
        word = words.pop(0)
        if word.text == "on":
            if not words or words[0].text not in SOURCES:
                raise CommandError("'on' needs prompt or random after it", "bad-argument", col=word.col)
            sources = (words.pop(0).text,)
        elif role or heads:
            raise CommandError(
                f"unexpected {word.text!r}: one role or one head", "bad-argument", col=word.col
            )
        elif name := _role_named(word.text):
            role = name
        else:
            heads = _heads(snapshot, word)
    return Wanted(role, heads, sources)


def _role_named(text: str) -> str:
    """A role by its name, its beginning or TransformerLens' name for it; nothing where there is none."""
    wanted = text.lower().replace("_", "-").removesuffix("-head")
    near = [name for name in NAMES if wanted and name.startswith(wanted)]
    return near[0] if len(near) == 1 else ""


def _heads(snapshot: Snapshot, word: Word) -> tuple[Component, ...]:
    try:
        parts = node_word(snapshot, word).components
    except CommandError as error:
        if guess := did_you_mean(word.text, NAMES):
            raise CommandError(f"unknown role {word.text!r}{guess}", col=word.col) from None
        known = f"{error.message}; roles are {', '.join(NAMES)}"
        raise CommandError(known, error.code, col=word.col) from None
    for part in parts:
        if part.kind is not Kind.HEAD:
            raise CommandError(f"{part} is no head: only heads have roles", "bad-node", col=word.col)
    return parts


def _found(session: Session, call: Call, source: str) -> tuple[str, Roles]:
    """A title, and the scores on random tokens or on the prompt."""
    snapshot = session.snapshot
    if source == "prompt":
        edits = ", edits included" if snapshot.state.inputs.changes else ""
        return f"on the prompt{edits}", on_prompt(snapshot.now.model, snapshot.now.trace)
    seed = option_integer(call, "seed", seed_of(snapshot.state), "a seed")
    texts = _random(snapshot, seed)
    traces: list[Trace] = []
    try:
        for text in texts:
            traces.append(record(snapshot.now.model, text, also=session.engine.stop_here, sites=NEEDED))
            session.engine.progress = f"{len(traces)}/{len(texts)}"
    finally:
        session.engine.progress = ""
    each = len(texts[0]) // 2
    title = f"on {len(texts)} x {each} random tokens said twice, seed {seed}"
    return title, roles_of(snapshot.now.model, traces)


def _random(snapshot: Snapshot, seed: int) -> list[tuple[int, ...]]:
    """Sequences as long as fit, of tokens that training has seen, `<|endoftext|>` before them as in the prompt."""
    model, config = snapshot.now.model, snapshot.info.config
    rare = untrained(model.wte.weight, impossible(snapshot.tokenizer, config.n_vocab))
    ids = np.flatnonzero(~rare).tolist()
    start = snapshot.tokenizer.eos if snapshot.state.inputs.prompt.bos else None
    fits = (config.n_ctx - (start is not None)) // 2
    length = min(LENGTH, fits, len(set(ids) - {start}))
    try:
        return repeated_sequences(model, seed, length, BATCH, allowed=ids, start=start)
    except ValueError as error:
        raise CommandError(f"no random tokens to try heads on: {error}", "too-short") from None


def _rows(wanted: Wanted, on: str, found: Roles) -> Iterator[Row]:
    """Those that are asked for, best first."""
    if wanted.heads:
        yield from (Row(head, role.value, on, found) for head in wanted.heads for role in Role)
        return
    if not wanted.role:
        yield from (Row(each.head, each.role, on, found) for each in suggest(found))
        return
    n_layer, n_head = found.raised.shape
    heads = (Component(Kind.HEAD, layer, index) for layer in range(n_layer) for index in range(n_head))
    rows = [Row(head, wanted.role, on, found) for head in heads]
    sign = -1 if wanted.role == NEGATIVE else 1
    scored = [row for row in rows if not isnan(row.score(row.of))]
    yield from sorted(scored, key=lambda row: -sign * row.score(row.of))


def _table(snapshot: Snapshot, rows: Sequence[Row]) -> tuple[str, ...]:
    if not rows:
        return ("No head has a role here",)
    cells: list[tuple[str, ...]] = [("head", "role", *SHORT.values(), "strongest")]
    for row in rows:
        scores = (_short(row.score(role)) for role in SHORT)
        cells.append((str(row.head), row.role, *scores, _strongest(snapshot, row)))
    return columns(cells, "--" + "r" * len(SHORT) + "-")


def _short(score: float) -> str:
    return "" if isnan(score) else f"{score:.2f}".replace("0.", ".", 1)


def _strongest(snapshot: Snapshot, row: Row) -> str:
    """`John@14 → went@5 .98`."""
    if row.example is None:
        return ""
    sequence, query, key = row.example
    tokens = row.found.sequences[sequence]
    query_text, key_text = (snapshot.tokenizer.display(tokens[at]).strip() for at in (query, key))
    return f"{query_text}@{query} → {key_text}@{key} {_short(row.strength)}"


def _row(snapshot: Snapshot, row: Row) -> dict[str, object]:
    return {
        "head": str(row.head),
        "on": row.on,
        "role": row.role,
        "score": row.score(row.of),
        **{role.value: row.score(role) for role in Role},
        "raised": float(row.found.raised[row.at]),
        "evidence": _evidence(snapshot, row),
    }


def _evidence(snapshot: Snapshot, row: Row) -> dict[str, object] | None:
    """The strongest place, and how many queries the score is taken over."""
    if row.example is None:
        return None
    sequence, *places = row.example
    tokens = row.found.sequences[sequence]
    query, key = ({"pos": at, "id": tokens[at], "text": snapshot.tokenizer.text(tokens[at])} for at in places)
    count = row.found.scores[row.of].count
    return {"query": query, "key": key, "strength": row.strength, "sequence": sequence, "queries": count}
