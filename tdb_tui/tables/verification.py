"""The numbers on screen, each beside what the independent float64 pass says it is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from math import isnan
from types import MappingProxyType

import torch

from model.components import Kind, Node
from model.edits.interventions import Ablate, Change, Freeze, Mode, Patch, Span, flat
from model.metrics import Quantity
from model.nodes import NodeTable
from model.reference import books, effects, questions, slopes
from model.reference.passes import NOTHING, Given
from model.reference.questions import Question
from model.reference.run import PlainGPT2, Tick
from model.sites import Where
from tdb_tui import lines
from tdb_tui.effects import Effect
from tdb_tui.formats import metric_text, node_label, plain, probability, quoted, signed
from tdb_tui.machine.devices import pick_dtype
from tdb_tui.session import Snapshot
from tdb_tui.sets.references import places_in, prompts_for
from tdb_tui.state import Inputs
from tdb_tui.tables.plain_saes import PlainSaes, plain_place
from tdb_tui.tables.ranking import Ranked

ROUNDING = 10.0
"""How many noise floors a number may be off for rounding alone to explain it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One number on screen."""

    group: str
    "metric, logits, lens, rank, attention or books."
    what: str
    shown: float
    text: str
    "As it is displayed."
    exact: float
    "In float64, by the independent pass."

    @property
    def difference(self) -> float:
        return self.shown - self.exact

    @property
    def digit(self) -> float:
        """Half of the last displayed digit."""
        exponent = Decimal(self.text).as_tuple().exponent
        return 0.5 * 10.0 ** int(exponent)

    def flag(self, noise: float) -> str | None:
        """`wrong`, or `rounding` where the noise floor explains it; None where every displayed digit is right."""
        if abs(self.difference) <= self.digit:
            return None
        return "rounding" if abs(self.difference) <= ROUNDING * noise else "wrong"


class Second:
    """A snapshot's run made again from the checkpoint, and what is asked of it."""

    def __init__(self, snapshot: Snapshot, plain: PlainGPT2, tick: Tick) -> None:
        self.snapshot, self.plain, self.tick = snapshot, plain, tick
        self.inputs = snapshot.state.inputs
        self.given = given(self.inputs, plain, snapshot.tokenizer.eos, tick)
        self.run = plain.run(self.inputs.prompt.tokens, self.inputs.changes, self.given, tick)
        self._found: dict[Node, effects.Effects] = {}

    @cached_property
    def base(self) -> torch.Tensor | None:
        """Logits at the metric's token without any edit, where the metric is a divergence from them."""
        metric = self.inputs.metric
        if metric.quantity is not Quantity.KL:
            return None
        return self.plain.logits(self.plain.run(self.inputs.prompt.tokens, tick=self.tick), metric.pos)

    @cached_property
    def metric(self) -> Question:
        """Raises ValueError for a metric that is unknown to the independent pass."""
        return questions.about_metric(self.plain, self.run, self.inputs.metric, self.base)

    @cached_property
    def question(self) -> Question:
        """What the selected frame asks.  Raises ValueError as `metric` does."""
        asked = self.metric
        for frame in self.snapshot.state.trail:
            via = None if frame.via is None else frame.via.value
            asked = questions.about_node(self.plain, self.run, frame.node, via, asked)
        return asked

    @cached_property
    def gradients(self) -> tuple[torch.Tensor, ...]:
        held = self.inputs.treatment.value
        return effects.gradients(self.plain, self.run, self.question, self.given, held, self.tick)

    def effects_of(self, node: Node) -> effects.Effects:
        """Raises ValueError for what has none, and where edges and paths make them unknown."""
        if node not in self._found:
            self._found[node] = self._effects_of(node)
        return self._found[node]

    def _effects_of(self, node: Node) -> effects.Effects:
        if not slopes.is_wired(self.run):
            return effects.effects_of(self.plain, self.run, self.question, node, self.gradients)
        held = self.inputs.treatment.value
        return slopes.effects_of(self.plain, self.run, self.question, node, self.given, held, self.tick)

    def books(self, places: Sequence[Where] = ()) -> tuple[float, float]:
        """Of all that is no bias, and of biases and constants, with the dictionaries of some places on the books.

        Raises ValueError where edges and paths make these unknown.
        """
        if not slopes.is_wired(self.run):
            return books.books(self.plain, self.run, self.question, [plain_place(at) for at in places])
        if places:
            raise ValueError("what a dictionary's parts do where edges are edited is unknown to it")
        return slopes.books(self.plain, self.run, self.question, self.given)

    def noise_floor(self) -> float:
        """The largest difference that the run's dtype makes to a logit at the metric's token: without the debugger.

        A float64 run's is what float32 makes, scaled by the two machine epsilons.
        """
        dtype = pick_dtype(self.snapshot.info.dtype)
        narrow = torch.float32 if dtype is torch.float64 else dtype
        rounded = replace(self.plain, dtype=narrow, _kept={}, _bytes=0)
        run = rounded.run(self.run.tokens, self.run.changes, self.given, self.tick)
        pos = self.inputs.metric.pos
        floor = float((rounded.logits(run, pos).double() - self.plain.logits(self.run, pos)).abs().max())
        return floor * torch.finfo(dtype).eps / torch.finfo(narrow).eps


def given(inputs: Inputs, plain: PlainGPT2, eos: int | None, tick: Tick) -> Given:
    """What the edits take from other runs: prompt B's, the unedited one, and those that means are taken over."""
    changes, found = flat(inputs.changes), replace(NOTHING, dictionaries=PlainSaes(inputs.saes))
    if inputs.prompt_b is not None:
        found = replace(found, other=plain.run(inputs.prompt_b.tokens, tick=tick))
    if any(isinstance(change, Freeze) for change in changes):
        found = replace(found, base=plain.run(inputs.prompt.tokens, tick=tick))
    numbers = {change.example for change in changes if isinstance(change, Patch)}
    taken = [prompt for prompt in inputs.examples if prompt.example in numbers]
    runs = {prompt.example or 0: plain.run(prompt.tokens, tick=tick) for prompt in taken}
    found = replace(found, examples=MappingProxyType(runs))
    drawing = any(
        isinstance(change, Ablate) and change.mode in (Mode.MEAN, Mode.RESAMPLE) for change in changes
    )
    if inputs.means is None or not drawing:
        return found
    means, prompt = inputs.means, inputs.prompt
    prompts = prompts_for(means, prompt) if means.prompts else (prompt,)
    every = means.prompts or (prompt,)
    same = all(len(each.tokens) == len(prompt.tokens) for each in every)
    return replace(
        found,
        means=tuple(plain.run(each.tokens, tick=tick) for each in prompts),
        places=tuple(places_in(prompt, each, means.per) for each in prompts),
        pooled=not means.per and not (means.prompts and same),
        skip=int(all(each.tokens[0] == eos and len(each.tokens) > 1 for each in every)),
    )


def metric_checks(second: Second) -> Iterator[Check]:
    """The metric, and what the selected frame asks about."""
    snapshot, run = second.snapshot, second.run
    name = metric_text(second.inputs.metric, snapshot.tokenizer, snapshot.state.end)
    asked = second.metric
    exact = questions.live_value(second.plain, run, asked, asked.line - 1)
    yield _signed("metric", name, snapshot.now.value, exact)
    if snapshot.state.frame:
        exact = questions.value_of(second.plain, run, second.question)
        yield _signed("metric", f"frame {snapshot.state.frame}", snapshot.asked.value, exact)


def logit_checks(second: Second, count: int) -> Iterator[Check]:
    """Logits and probabilities of the next tokens at the token cursor."""
    snapshot, pos = second.snapshot, second.snapshot.state.pos
    metric, shown = second.inputs.metric, snapshot.now.logits(pos)
    exact = second.plain.logits(second.run, pos)
    p_shown, p_exact = torch.from_numpy(shown).softmax(-1), exact.softmax(-1)
    most = [int(token) for token in (-shown).argsort(kind="stable")[:count]]
    for token in dict.fromkeys([*most, *metric.targets, *metric.distractors]):
        name, value, p = quoted(snapshot.tokenizer, token), float(shown[token]), float(p_shown[token])
        yield Check("logits", f"logit {name}", value, f"{value:.2f}", float(exact[token]))
        yield Check("logits", f"p {name}", p, probability(p), float(p_exact[token]))


def lens_checks(second: Second) -> Iterator[Check]:
    """What is asked about, through the lens after each line, read at the token cursor."""
    snapshot, pos = second.snapshot, second.snapshot.state.pos
    at = pos if not snapshot.state.frame else None
    for line, value in enumerate(snapshot.asked.through_lens(pos)):
        after = min(line, second.question.line - 1)
        exact = questions.live_value(second.plain, second.run, second.question, after, at)
        yield _signed("lens", f"lens {lines.name(line, snapshot.n_layer)}", float(value), exact)


def row_checks(second: Second, shown: Ranked, count: int, progress: Callable[[str], None]) -> Iterator[Check]:
    """Every measure of the first rows: direct, total, measured where it has been, write norm and activation."""
    snapshot, plain_pass, run = second.snapshot, second.plain, second.run
    rows = range(min(count, len(shown)))
    table = first_rows(shown, count)
    edited = {effect: shown.measured(snapshot.asked, rows, effect) for effect in Effect}
    tokens = snapshot.state.inputs.prompt.tokens
    for row in rows:
        second.tick()
        progress(f"{row + 1}/{len(rows)}")
        node = table.node(row)
        if node.component.kind is Kind.TARGET_BIAS:
            continue  # a constant of the question, which the books hold
        found = second.effects_of(node)
        name = node_label(node, tokens, snapshot.tokenizer)
        yield _signed("rank", f"{name} total", float(table.total[row]), found.total)
        yield _signed("rank", f"{name} direct", float(table.direct[row]), found.direct)
        for effect, values in edited.items():
            if not isnan(values[row]):
                change = edit_of(node, effect)
                exact = effects.measured(plain_pass, run, second.question, change, second.given, second.tick)
                yield _signed("rank", f"{name} {effect.value}", float(values[row]), exact)
        norm, act = float(table.write_norm[row]), float(table.act[row])
        yield Check("rank", f"{name} norm", norm, plain(norm), found.write_norm)
        if act != 1 or found.act != 1:
            yield Check("rank", f"{name} act", act, plain(act), found.act)


def edit_of(node: Node, effect: Effect) -> Change:
    """The edit that an effect of a node is measured by."""
    span = Span(node.pos, node.pos)
    if effect is Effect.ABLATED:
        return Ablate(node.component, span, node.key)
    return Patch(node.component, span, span, node.key, node.key)


def pattern_checks(second: Second) -> Iterator[Check]:
    """The shown head's whole attention pattern, as the one weight that is furthest off for its digits."""
    snapshot, head = second.snapshot, second.snapshot.state.head
    shown = snapshot.now.pattern(head)
    exact = second.run["pattern", head.layer][head.index]
    tokens = snapshot.state.inputs.prompt.tokens
    every = [
        Check(
            "attention",
            "",
            float(shown[query, key]),
            probability(float(shown[query, key])),
            float(exact[query, key]),
        )
        for query in range(len(tokens))
        for key in range(query + 1)
    ]
    at = max(range(len(every)), key=lambda at: abs(every[at].difference) / every[at].digit)
    yield replace(every[at], what=f"{head} attention, worst of {len(every)}")


def book_checks(second: Second, shown: Ranked, count: int) -> Iterator[Check]:
    """The books of the first rows, every write of the pass read again."""
    books, table = shown.balance(second.snapshot.asked, count), first_rows(shown, count)
    parts_shown = table.take(~table.is_bias())
    nodes = [parts_shown.node(row) for row in range(len(parts_shown))]
    found = (second.effects_of(node) for node in nodes)
    rows = sum(each.direct for each in found)
    parts, biases = second.books(shown.places)
    exact = questions.value_of(second.plain, second.run, second.question)
    yield _signed("books", "books: rows", books.rows, rows)
    yield _signed("books", "books: biases", books.biases, biases)
    yield _signed("books", "books: rest", books.rest, parts - rows)
    yield _signed("books", "books: sum", books.sum, parts + biases)
    yield _signed("books", "books: target", books.target, exact)


def first_rows(shown: Ranked, count: int) -> NodeTable:
    """The first rows of a ranking, in its order.  Raises ValueError where they are sums of nodes."""
    if shown.groups is not None:
        raise ValueError("rows are sums of nodes: rank without per")
    return shown.table.take(shown.order[:count])


def _signed(group: str, what: str, shown: float, exact: float) -> Check:
    return Check(group, what, shown, signed(shown), exact)
