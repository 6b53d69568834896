"""`over`: a table over the prompt set, its numbers with their spread."""

from dataclasses import fields, replace
from typing import Any

from model.components import Kind
from model.printable import printable
from model.sets.prompts import END, roles_of
from model.sets.statistics import Summary
from tdb_tui.commands.over_tables import KEYED, keyed_rows, logit_rows
from tdb_tui.commands.prompting import counted, set_result
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.formats import signed
from tdb_tui.language.arguments import at_most, one_component, option_integer, unpaged
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Repeat
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session
from tdb_tui.sets.nodes import BY, View, node_rows
from tdb_tui.sets.prompt_sets import encode_all, loaded
from tdb_tui.sets.tables import Rows, attn_rows, lens_rows, metric_rows, role_rows, value_rows
from tdb_tui.settings import seed_of
from tdb_tui.tables.ranking import KINDS

ROWS, RESAMPLES, EXTREMES = 25, 1000, 3
TABLES = ("metric", "rank", "lens", "attn", "roles", "print", "logits", *KEYED)


@command(
    "over",
    usage="metric | rank [KINDS] [by M] [@ROLE] [per component] [+|-] | lens [@ROLE] [by delta]"
    " | attn HEAD [@ROLE] | roles [HEAD] | print EXPR | logits [@ROLE] [by logit|logprob|prob]"
    " | strips ... | why ... | feeds ... | upstream ...",
    group="seeing",
    repeat=Repeat.CONTINUE,
    options={"n": True, "from": True, "seed": True, "resamples": True},
    complete=("table", "kind", "pos"),
    examples=("prompts induction:3 ;; over rank heads by direct @END", "prompts induction:3 ;; over metric"),
)
def over(session: Session, call: Call) -> Reply:
    """A table over the prompt set: mean, spread, an interval for the mean, and how many prompts agree on its sign.

    over metric                  the metric of every prompt, and which prompts are at its ends
    over rank heads by total     nodes laid over each other by role (`other`: tokens without one, added up);
                                 by direct, total, measured, patched, norm, act; per component adds up a prompt's tokens
    over lens @S2                the logit lens line by line; by delta what each line adds
    over attn L3H1 @END          what the head's query gives to the keys of each role
    over roles                   role scores of heads;  over print EXPR  any expression, at the end
    over logits @END by prob     the next tokens, the largest mean first
    over strips by direct, over why L3H1@END by score, over feeds L0H1@S2, over upstream
                                 these commands' rows, each of the same name; n is how many prompts have it

    sd is over prompts.  The interval is a bootstrap over prompts (95 %, --resamples 1000, --seed 0); sign is the share
    of prompts with the mean's sign.  Edits in force count and follow the role of their token.
    """
    if not call.args:
        raise CommandError(
            "over which table: over rank heads by direct, over metric", code="missing-argument"
        )
    loaded(session.state)
    table, words = call.args[0], call.args[1:]
    match table.text:
        case "metric":
            at_most(call, 1)
            rows, what = metric_rows(session), "metric"
        case "rank" | "rk":
            rows, what = _ranked(session, call, words)
        case "lens":
            role, deltas = _lens_words(session, words)
            rows, what = lens_rows(session, role, deltas), "Δ" if deltas else "lens"
        case "attn":
            rows, what = _attn(session, call, words), "attention"
        case "roles":
            at_most(call, 2)
            head = one_component(session.snapshot, words[0]) if words else None
            rows, what = role_rows(session, head), "score"
        case "print" | "p" | "pp":
            if not words:
                raise CommandError("over print what: over print rank(' Mary')", code="missing-argument")
            rows, what = value_rows(session, call.rest(1).text), "value"
        case "logits" | "lg":
            rows, what = logit_rows(session, words, lambda word: _role(session, word))
        case name if name in KEYED:
            rows, what = keyed_rows(session, name, words)
        case text:
            right = did_you_mean(text, TABLES) or f": {', '.join(TABLES)}"
            raise CommandError(f"no table {text!r} over a set{right}", "bad-argument", col=table.col)
    return _answer(session, call, rows, what)


def _ranked(session: Session, call: Call, words: tuple[Word, ...]) -> tuple[Rows, str]:
    now = session.state.rank
    view = View(now.kinds, now.by if now.by in BY else "total")
    left = iter(words)
    for word in left:
        match word.text:
            case kinds if kinds in KINDS:
                view = replace(view, kinds=KINDS[kinds])
            case "+" | "-":
                view = replace(view, sign=word.text)
            case "by":
                measure = next(left, None)
                if measure is None or measure.text not in BY:
                    raise CommandError(f"by which measure: {', '.join(BY)}", "bad-argument", col=word.col)
                view = replace(view, by=measure.text)
            case "per":
                group = next(left, None)
                if group is None or group.text != "component":
                    raise CommandError("over a set: by role, or per component", "bad-argument", col=word.col)
                view = replace(view, whole=True)
            case text if text.startswith("@"):
                view = replace(view, role=_role(session, word))
            case text:
                right = did_you_mean(text, [*KINDS, "by", "per"]) or ": over rank takes " + ", ".join(KINDS)
                raise CommandError(f"unknown word {text!r}{right}", "bad-argument", col=word.col)
    if view.whole and (view.role is not None or "pair" in view.kinds):
        other = "a token" if view.role is not None else "pairs"
        raise CommandError(f"per component adds up every token: leave out {other}", code="bad-argument")
    return node_rows(session, view), view.by


def _role(session: Session, word: Word) -> str:
    """The role that `@END` names.  Raises CommandError."""
    role = word.text.removeprefix("@")
    known = roles_of(encode_all(session))
    if role not in known:
        right = did_you_mean(role, known) or f": it has {', '.join(known)}"
        raise CommandError(f"no role {role!r} in the set{right}", "bad-role", col=word.col)
    return role


def _lens_words(session: Session, words: tuple[Word, ...]) -> tuple[str, bool]:
    role, texts = END, [word.text for word in words]
    if texts[-2:] == ["by", "delta"]:
        words, deltas = words[:-2], True
    else:
        deltas = False
    for word in words:
        if not word.text.startswith("@"):
            raise CommandError(
                f"unexpected {word.text!r}: over lens @END by delta", "bad-argument", col=word.col
            )
        role = _role(session, word)
    return role, deltas


def _attn(session: Session, call: Call, words: tuple[Word, ...]) -> Rows:
    if not words:
        raise CommandError("over attn of which head: over attn L1H3 @END", code="missing-argument")
    at_most(call, 3)
    head = one_component(session.snapshot, words[0])
    if head.kind is not Kind.HEAD:
        raise CommandError(f"{head} has no attention pattern: name a head", "bad-node", col=words[0].col)
    return attn_rows(session, head, _role(session, words[1]) if len(words) > 1 else END)


def _answer(session: Session, call: Call, rows: Rows, what: str) -> Reply:
    seed = option_integer(call, "seed", seed_of(session.state), "a seed")
    resamples = option_integer(call, "resamples", RESAMPLES, "a number of resamples", least=1)
    count, first = (
        option_integer(call, *option, "a number of rows") for option in (("n", ROWS), ("from", 0))
    )
    last = min(first + count, len(rows.names)) if count else len(rows.names)
    found = rows.take(range(first, last))
    summed, metric = found.summary(resamples, seed), rows.of_metric().summary(resamples, seed)
    said = [
        *_text(found, summed, what, first),
        f"{_part(first, last, len(rows.names))}{_about(session, rows, metric)}",
        *(_books(rows) if what == "direct" else ()),
        *(_ends(rows) if what == "metric" else ()),
        f"interval: bootstrap over prompts, {resamples} resamples, seed {seed}",
    ]
    result: dict[str, Any] = {
        "set": set_result(session),
        "table": call.args[0].text,
        "measure": what,
        "bootstrap": {"resamples": resamples, "seed": seed, "level": 0.95},
        "metric": _numbers(metric, 0),
        "rows": [
            {"row": name, **(found.fields[at] if found.fields else {}), **_numbers(summed, at)}
            for at, name in enumerate(found.names)
        ],
        **({"values": rows.metric.tolist()} if what == "metric" else {}),
    }
    if what == "direct" and rows.balance is not None:
        result["balance"] = {name: getattr(rows.balance, name) for name in BOOKS}
    more = f"{unpaged(call)} --from {last}" if last < len(rows.names) else None
    caveats = _caveats(session, call.args[0].text, what, found)
    return Reply(tuple(printable(line) for line in said), result, caveats, more=more)


BOOKS = ("rows", "biases", "rest", "sum", "target", "difference")


def _text(found: Rows, summed: Summary, what: str, first: int) -> tuple[str, ...]:
    cells = [("#", "", what, "sd", "95 % interval", "sign", "n")]
    fine = what in ("attention", "score", "value")
    for at, name in enumerate(found.names):
        mean, sd, low, high, sign, n = (float(getattr(summed, field.name)[at]) for field in fields(Summary))
        show = (lambda x: f"{x:+.3f}") if fine else signed
        interval = f"{show(low)} to {show(high)}"
        cells.append(
            (str(first + at + 1), name, show(mean), show(sd)[1:], interval, f"{100 * sign:.0f} %", f"{n:.0f}")
        )
    return columns(cells, "r-rrrrr")


def _part(first: int, last: int, count: int) -> str:
    """Which rows these are, where they are not all."""
    if last - first >= count:
        return ""
    return f"shown {last} of {count}   " if first == 0 else f"shown {first + 1} to {last} of {count}   "


def _about(session: Session, rows: Rows, metric: Summary) -> str:
    """How many prompts there are, and their metric."""
    low, high = signed(float(metric.low[0])), signed(float(metric.high[0]))
    count = counted(len(rows.metric), "prompt")
    return (
        f"{count} of {loaded(session.state).text}, metric {signed(float(metric.mean[0]))} ({low} to {high})"
    )


def _books(rows: Rows) -> tuple[str, ...]:
    books = rows.balance
    if books is None:
        return ()
    parts = f"rows {signed(books.rows)}, biases {signed(books.biases)}, rest {signed(books.rest)}"
    total = f"sum {signed(books.sum)} of {signed(books.target)}, difference {books.difference:.1e}"
    return (f"direct: {parts}, {total}",)


def _ends(rows: Rows) -> tuple[str, ...]:
    """The examples with the lowest and the highest metric, by number."""
    order = rows.metric.argsort(kind="stable")
    ends = (("lowest", order[:EXTREMES]), ("highest", order[::-1][:EXTREMES]))
    return tuple(
        f"{what:<8}" + "  ".join(f"example {at + 1} {signed(float(rows.metric[at]))}" for at in some)
        for what, some in ends
    )


def _numbers(summed: Summary, at: int) -> dict[str, object]:
    """One row's statistics as JSON."""
    found = {field.name: float(getattr(summed, field.name)[at]) for field in fields(Summary)}
    return {**found, "n": int(found["n"])}


def _caveats(session: Session, table: str, what: str, found: Rows) -> tuple[str, ...]:
    metric = session.snapshot.now.metric
    said: list[str] = []
    if session.state.frame:
        said.append("over a set the question is the metric, not the selected frame")
    latents = any(name.startswith(("F", "X")) for name in found.names)
    if table == "rank" and session.state.rank.latents and not latents:
        said.append("over a set latents take nobody's place: over rank latents lays them over each other")
    if what == "direct" and not metric.linear:
        name = metric.quantity.value
        said.append(f"{name} is not linear in the logits: direct effects add up to its linear part")
    return tuple(said)
