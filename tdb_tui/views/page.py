"""Snapshot -> the page of a component: what it is said to do, what it does here and elsewhere, what is like it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from explanations.records import Explanation, Sampling
from model.about.neighbours import neighbours
from model.about.reads import top_tokens
from model.components import Component, Kind, Node
from model.dictionaries import place_of
from model.tokenizer import Tokenizer
from tdb_tui.errors import CommandError
from tdb_tui.formats import plain, quoted, signed, token_label
from tdb_tui.session import Snapshot
from tdb_tui.tables.acts import Floats, activations, first_counted, peak_of
from tdb_tui.tables.examples import cautions, corpus_lines, score_text
from tdb_tui.tables.known import Found, Known
from tdb_tui.tables.promoted import driving, promoted, rare
from tdb_tui.views.data import PageRow, PageView, ShadedRow, TextRow

TOP_FIRST = 6
"Of the largest examples, those that stand before what else is known."
TOKENS, READS, NEIGHBOURS = 4, 2, 3
HEADS = {
    Sampling.TOP: "the largest in the corpus",
    Sampling.QUANTILE: "from all over its range, the largest first",
    Sampling.RANDOM: "of all texts, the same for every component",
}
SCORES = {"auc": "AUC, .5 is chance"}
KINDS = {
    Kind.HEAD: "attention head {index} of layer {layer}",
    Kind.NEURON: "MLP neuron {index} of layer {layer}",
    Kind.MLP: "the MLP of layer {layer}",
    Kind.LATENT: "SAE latent {index} of {place}, layer {layer}",
    Kind.ATTN: "all heads of layer {layer}",
}
PLACES = {
    "m": "the MLP's output",
    "p": "the MLP's activations",
    "a": "attention's output",
    "z": "the heads' outputs",
}


def page(snapshot: Snapshot) -> PageView | None:
    """What was asked about last; None where nothing was."""
    match snapshot.page:
        case Known() as known:
            return _component(snapshot, known)
        case Found() as found:
            return _found(snapshot, found)
        case None:
            return None


def _component(snapshot: Snapshot, known: Known) -> PageView:
    part = known.component
    return PageView(
        str(part),
        (*_said(known), *_here(snapshot, known), *_beyond(snapshot, known)),
        what=KINDS.get(part.kind, part.kind.group).format(
            index=part.index, layer=part.layer, place=PLACES.get(part.site, "the residual stream")
        ),
        node=str(part),
        beside=_beside(snapshot, part),
        back="find" if known.found else "",
    )


def _said(known: Known) -> Iterator[PageRow]:
    """Explanations with their scores, and notes."""
    for each in known.explanations[:3]:
        yield TextRow("says" if each is known.explanations[0] else "or", f"{score_text(each)}  {each.text}")
        if each is known.explanations[0]:
            yield TextRow("", _how_good(each), dim=True)
    if known.scored is not None and known.scored not in known.explanations[:3]:
        yield TextRow("yours", f"{score_text(known.scored)}  {known.scored.text}")
    if not known.explanations and known.statistics is not None:
        yield TextRow("says", "nothing yet: e (explain) makes a sentence of its examples", dim=True)
    yield from (
        TextRow("careful", text, dim=True) for text in cautions(known.explanations[:3], known.statistics)
    )
    for text in known.notes:
        yield TextRow("note", text)


def _how_good(explanation: Explanation) -> str:
    """`correlation over tokens [.58, .81] on 14 sequences not used for it · token table`."""
    who = " · ".join(filter(None, (explanation.method, explanation.model)))
    if not explanation.scores:
        return f"not scored · {who}"
    first = explanation.scores[0]
    ends = "" if first.low is None or first.high is None else f" [{first.low:.2f}, {first.high:.2f}]"
    count = sum(first.samples.values())
    held = f" on {count} held-out texts" if count else ""
    return f"{SCORES.get(first.name, first.name)}{ends}{held}; by {who}"


def _here(snapshot: Snapshot, known: Known) -> Iterator[PageRow]:
    """What it does on the prompt, and on texts that were typed."""
    run, tokenizer = snapshot.now, snapshot.tokenizer
    try:
        acts = activations(run.model, run.trace, known.component)
    except ValueError as error:
        yield TextRow("prompt", str(error), dim=True)
        acts = None
    top = 0.0 if known.statistics is None else known.statistics.max
    if acts is not None:
        yield from _run("prompt", snapshot, snapshot.state.inputs.prompt.tokens, acts, top)
    for tried in known.tried:
        yield from _run("typed", snapshot, tried.tokens, tried.acts, top)
    if top and known.examples.get(Sampling.TOP):
        yield TextRow("top", HEADS[Sampling.TOP], dim=True)
        yield from list(_examples(tokenizer, known, Sampling.TOP))[:TOP_FIRST]


def _run(
    label: str, snapshot: Snapshot, tokens: Sequence[int], acts: Floats, top: float
) -> Iterator[PageRow]:
    texts = tuple(map(snapshot.tokenizer.display, tokens))
    peak, key = peak_of(acts, first_counted(tokens, snapshot.tokenizer.eos))
    largest = float(acts[peak] if key is None else acts[peak, key])
    if largest <= 0:
        yield TextRow(label, "not active", dim=True)
    else:
        share = f": {largest / top:.0%} of the most in the corpus" if top > 0 else ""
        read = "" if key is None else f", reading '{texts[key]}'"
        yield TextRow(label, f"up to {plain(largest)} at '{texts[peak]}'{read}{share}", dim=True)
    yield ShadedRow("", texts, acts, max(top, largest), peak, key)


def _examples(tokenizer: Tokenizer, known: Known, sampling: Sampling) -> Iterator[ShadedRow]:
    top = 0.0 if known.statistics is None else known.statistics.max
    for each in known.examples.get(sampling, ()):
        texts = tuple(map(tokenizer.display, each.tokens))
        yield ShadedRow(plain(each.value), texts, each.activations, top, each.peak, each.key)


def _beyond(snapshot: Snapshot, known: Known) -> Iterator[PageRow]:
    """Its effect here, the tokens that it speaks for, what drives it, what is like it, the corpus, more examples."""
    if known.measures:
        at = known.measures[0].split()[0].partition("@")[2]
        told = "  ".join(known.measures[1:]).removeprefix(
            "activation 1  "
        )  # what all but neurons and latents have
        yield TextRow("effect", f"@{at}  {told}")
    yield from _tokens(snapshot, known)
    yield from _alike(snapshot, known.component)
    if known.statistics is None:
        yield TextRow("corpus", "no store has examples of it: tdb-tui collate makes one", dim=True)
        return
    for number, line in enumerate(corpus_lines(known.statistics)):
        yield TextRow("" if number else "corpus", line)
    if rest := list(_examples(snapshot.tokenizer, known, Sampling.TOP))[TOP_FIRST:]:
        yield TextRow("top", "the largest after those above", dim=True)
        yield from rest
    for sampling in (Sampling.QUANTILE, Sampling.RANDOM):
        if known.examples.get(sampling):
            yield TextRow(sampling.value, HEADS[sampling], dim=True)
            yield from _examples(snapshot.tokenizer, known, sampling)


def node_of(snapshot: Snapshot, known: Known) -> Node | None:
    """The component where it was asked about, else at its peak on the prompt, of a head with the key it reads there.

    None for a part that does nothing to be measured at a token.
    """
    part, run = known.component, snapshot.now
    try:
        acts = activations(run.model, run.trace, part)
    except ValueError:
        return None
    if acts is None:
        return None
    tokens = snapshot.state.inputs.prompt.tokens
    peak, key = peak_of(acts, first_counted(tokens, snapshot.tokenizer.eos))
    if known.pos is not None:
        peak, key = known.pos, None if key is None else int(acts[known.pos].argmax())
    return Node(part, peak, key)


def _tokens(snapshot: Snapshot, known: Known) -> Iterator[PageRow]:
    """The tokens that it raises and lowers, and those that drive it: of a head what asks, and what is found."""
    node, tokenizer = node_of(snapshot, known), snapshot.tokenizer
    if node is None:
        return
    prompt = snapshot.state.inputs.prompt.tokens
    ends = top_tokens(promoted(snapshot.now, replace(node, key=None)), TOKENS, rare(snapshot))
    for label, end in (("for", ends.top), ("against", ends.bottom)):
        yield TextRow(label, _list(tokenizer, end))
    try:
        reads = driving(snapshot, node)
    except CommandError:
        return
    head = node.component.kind is Kind.HEAD
    labels = ("asked by", "found in") if head else ("driven by",) * len(reads)
    seen = [top_tokens(read.scores, TOKENS, rare(snapshot)).top for read in reads]
    # a latent of attention reads every token before it
    strongest = sorted(range(len(reads)), key=lambda at: -seen[at][0][1])[:READS]
    for at in range(len(reads)) if head else strongest:
        label, read, up = labels[at], reads[at], seen[at]
        where = token_label(read.pos, prompt, tokenizer)
        yield TextRow(label, f"at {where}  {_list(tokenizer, up)}")


def _list(tokenizer: Tokenizer, end: Iterable[tuple[int, float]]) -> str:
    return "  ".join(f"{quoted(tokenizer, id)} {signed(score)}" for id, score in end)


def _alike(snapshot: Snapshot, part: Component) -> Iterator[PageRow]:
    """Components that write alike, each with the best that is said of it."""
    found = neighbours(snapshot.now.model, snapshot.now.trace, part, NEIGHBOURS)
    said = snapshot.best([str(each) for each, _ in found])
    for number, (each, cosine) in enumerate(found):
        best = said.get(str(each))
        text = "" if best is None else f"  {best.text} ({score_text(best).strip()})"
        yield TextRow("near" if not number else "", f"{each}  {cosine:+.2f}{text}", node=str(each))


def _beside(snapshot: Snapshot, part: Component) -> dict[str, str]:
    """What the arrows go to: the component before and after it in its layer, the same one a layer up and down."""
    n_layer = snapshot.info.config.n_layer
    found: dict[str, str] = {}
    if part.index is not None and (count := count_of(snapshot, part)):
        found["before"] = str(replace(part, index=(part.index - 1) % count))
        found["after"] = str(replace(part, index=(part.index + 1) % count))
    for name, step in (("below", -1), ("above", 1)):
        other = replace(part, layer=(part.layer + step) % n_layer)
        if part.index is None:
            found[name] = str(other)
        elif count := count_of(snapshot, other):
            found[name] = str(replace(other, index=min(part.index, count - 1)))
    return found


def count_of(snapshot: Snapshot, part: Component) -> int:
    """How many components of its kind its layer has; 0 where none are known."""
    config = snapshot.info.config
    match part.kind:
        case Kind.HEAD:
            return config.n_head
        case Kind.NEURON:
            return config.d_mlp
        case Kind.LATENT:
            dictionary = snapshot.now.trace.dictionaries.get(place_of(part))
            return 0 if dictionary is None else dictionary.n_latent
        case _:
            return 0


def _found(snapshot: Snapshot, found: Found) -> PageView:
    """A row for each component that a search has found, and below it where the words stand."""
    rows: list[PageRow] = []
    for hit in found.hits:
        best = found.said.get(hit.node)
        said = "" if best is None else f"{score_text(best)}  {best.text}"
        rows.append(TextRow(hit.node, said or f"in its {hit.field}", node=hit.node))
        if best is None or hit.field != "explanation":
            rows.append(TextRow("", f"{hit.field}: {short(snapshot.tokenizer.display(hit.text))}", dim=True))
    none = TextRow("", f"nothing is found by '{found.words}'", dim=True)
    return PageView(f"found by '{found.words}'", tuple(rows) or (none,), what=f"{len(found.hits)} components")


def short(text: str, width: int = 120) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
