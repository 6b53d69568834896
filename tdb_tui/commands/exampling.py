"""What a component does in a corpus: dataset examples, and what stores know, as lines."""

from dataclasses import asdict

from explanations.records import Sampling
from model.tokenizer import Tokenizer
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.formats import plain
from tdb_tui.language.arguments import at_most, one_component, option_integer
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Stale
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session
from tdb_tui.stores import Stores
from tdb_tui.tables.examples import (
    example_line,
    example_rows,
    explanation_lines,
    fault_lines,
    statistics_lines,
)
from tdb_tui.tables.known import Known

ROWS = 6
SAMPLINGS = tuple(sampling.value for sampling in Sampling)
NO_STORE = "no store is loaded: start with --store FILE, made with tdb-tui collate or tdb-tui published"


@command(
    "examples",
    "exs",
    usage="NODE [top|quantile|random] [-n N]",
    group="seeing",
    stale=Stale.OF_NO_RUN,
    options={"n": True},
    complete=("node",),
    examples=("examples N3.17", "examples L1H3 quantile -n 4"),
)
def examples(session: Session, call: Call) -> Reply:
    """Where a component is active in a corpus: its largest peaks, its whole range, or a random sample.

    `top` are the sequences with the largest activations; `quantile` a random sample of those in which it is above
    zero, the largest first; `random` a random sample of all.  The token in `[ ]` is the peak; a head reads the one in
    `< >`, and its value is the length of what it moves from there, A_qk |v_k W_O|; an MLP's is the length of what
    it puts out, its bias included.  `-n 0` shows all that are kept.
    What others have published is shown where nothing was collated, with what is known to be wrong with it.
    The `<|endoftext|>` before a text is not counted.
    """
    at_most(call, 2)
    if not call.args:
        raise CommandError("examples of which node: examples N3.17", code="missing-argument")
    component = str(one_component(session.snapshot, call.args[0]))
    sampling = _sampling(call)
    count = option_integer(call, "n", ROWS, "a number of examples")
    stores, tokenizer = session.engine.stores, session.engine.tokenizer
    if not stores.opened():
        raise CommandError(NO_STORE, "no-store")
    statistics = stores.statistics(component)
    if statistics is None:
        looked = stores.names()
        raise CommandError(
            f"no examples of {component} (looked in {looked})", "no-examples", col=call.args[0].col
        )
    found = stores.examples(component, sampling, count or None)
    lines = columns([(plain(each.value), example_line(tokenizer, each)) for each in found], "r-")
    result = {
        "node": component,
        "sampling": sampling.value,
        "rows": example_rows(tokenizer, found),
        "max": statistics.max,
        "density": statistics.density,
        "count": statistics.moments.count,
        "published": None if statistics.origin is None else asdict(statistics.origin),
    }
    origin = statistics.origin
    by = "" if origin is None else f", published by {origin.name}"
    said = f"{component} {sampling.value}, max {plain(statistics.max)}{by}"
    return Reply((said, *fault_lines(statistics), *(lines or ("none",))), result)


def _sampling(call: Call) -> Sampling:
    if len(call.args) < 2:
        return Sampling.TOP
    word = call.args[1]
    if word.text not in SAMPLINGS:
        guess = did_you_mean(word.text, SAMPLINGS) or f": {', '.join(SAMPLINGS)}"
        raise CommandError(f"unknown sampling {word.text!r}{guess}", "bad-argument", col=word.col)
    return Sampling(word.text)


def known_lines(tokenizer: Tokenizer, known: Known, count: int = 3) -> list[str]:
    """What the stores say of a component, for `info`; nothing where none knows it."""
    said = [*explanation_lines(known.explanations), *(f"note: {text}" for text in known.notes)]
    if known.statistics is None:
        return said
    said += statistics_lines(tokenizer, known.statistics)
    for sampling, found in known.examples.items():
        cells = [(plain(each.value), example_line(tokenizer, each)) for each in found[:count]]
        said += [sampling.value, *(f"  {line}" for line in columns(cells, "r-"))]
    return [*said, f"examples {known.component} lists more"]


def store_rows(stores: Stores) -> list[tuple[str, ...]]:
    """The stores that are looked in, how much each knows, and which one takes notes and explanations."""
    found = stores.keeper()
    keeper = None if found is None else found[0]
    rows: list[tuple[str, ...]] = []
    for store in stores.opened():
        nodes, explained = store.counts()
        takes = "keeps what you note and explain" if store.path == keeper else "only read"
        rows.append((f"{nodes:,} components", f"{explained:,} explanations", takes, str(store.path)))
    if keeper is not None and keeper not in {store.path for store in stores.opened()}:
        rows.append(("", "", "will keep what you note and explain", str(keeper)))
    return rows
