"""What a component does, in a sentence: what stores hold, what data alone says, what a language model says."""

from collections.abc import Sequence

from explanations.hypotheses.guessing import guess
from explanations.published.catalogue import CAVEATS
from explanations.records import Explanation, Sampling
from explanations.splits import Splits, split
from model.components import Component
from tdb_tui.commands.exampling import NO_STORE
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError
from tdb_tui.language.arguments import one_component
from tdb_tui.language.parsing import Call, unquote
from tdb_tui.replies import Reply
from tdb_tui.session import Session
from tdb_tui.tables.examples import explanation_lines


@command(
    "explain",
    "ex",
    usage="NODE [TEXT] [--by MODEL] [--from openai|neuronpedia]",
    group="seeing",
    options={"by": True, "from": True},
    complete=("node",),
    examples=("explain L5H0", "explain N3.17"),
)
def explain(session: Session, call: Call) -> Reply:
    """What a component does, in sentences with their scores, best first.

    The sentences are those of the store; where it has none, tables over tokens, neighbours, positions and repeats are
    fitted to the component's dataset examples, worded, and scored on others.  `--by MODEL` asks a language model behind
    the endpoint TDB_EXPLAINER_URL; with TEXT, your own sentence is scored by what that model predicts from it.  A store
    given with `--store` keeps the answer.
    `--from openai` or `--from neuronpedia` fetches what they have published about it, explanations and records, and
    keeps that for every session with this model.  A score is the correlation over all tokens of held-out sequences, for
    heads the ROC-AUC over pairs of tokens; `tdb-tui explain` does many components.
    """
    if not call.args:
        raise CommandError("explain which node: explain L5H0", code="missing-argument")
    component = one_component(session.snapshot, call.args[0])
    node, stores = str(component), session.engine.stores
    if (publisher := call.option("from")) is not None:
        _fetch(session, component, publisher)
    if not stores.opened():
        raise CommandError(NO_STORE, "no-store")
    typed, model = call.rest(1), call.option("by")
    text = unquote(typed.text)
    if model is not None:
        return _reply(node, [_asked(session, node, text, model)])
    if text:
        raise CommandError(
            "say which language model predicts from it: explain NODE TEXT --by MODEL", col=typed.col
        )
    if found := stores.explanations(node):
        return _reply(node, found)
    return _reply(node, _guessed(session, node), "from data alone, made just now")


def _fetch(session: Session, component: Component, publisher: str) -> None:
    """Bring what was published into a store that this session looks into.  Raises CommandError and Interrupted."""
    from tdb_tui.publications.asking import fetch

    if not fetch(session.engine, component, publisher):
        raise CommandError(f"{publisher} has published nothing about {component}", "no-examples")


def _guessed(session: Session, node: str) -> tuple[Explanation, ...]:
    stores, tokenizer = session.engine.stores, session.engine.tokenizer
    splits, statistics = _splits(session, node), stores.statistics(node)
    return guess(node, splits, tokenizer.text, statistics.promoted if statistics else ())


def _splits(session: Session, node: str) -> Splits:
    """Raises CommandError for a component without examples."""
    stores = session.engine.stores
    found = split({sampling: stores.examples(node, sampling) for sampling in Sampling})
    if not found.explain:
        looked = stores.names()
        raise CommandError(
            f"no explanation of {node}, and no examples to make one from (in {looked})", "no-examples"
        )
    return found


def _asked(session: Session, node: str, text: str, model: str) -> Explanation:
    """By a language model, interrupted as a rerun is.  Raises CommandError and Interrupted."""
    from tdb_tui.explaining.asking import explanation

    splits, engine = _splits(session, node), session.engine
    found = explanation(engine, node, splits, model, text)
    if found is None:
        raise CommandError(
            f"{model} gave no answer about {node} that could be read: nothing was kept", "no-answer"
        )
    return found


def _reply(node: str, found: Sequence[Explanation], how: str = "") -> Reply:
    lines = explanation_lines(found, len(found))
    careful = {each.method: CAVEATS[each.method] for each in found if each.method in CAVEATS}
    rows = [
        {
            "text": each.text,
            "score": each.score,
            "method": each.method,
            "model": each.model,
            "n": sum(each.scores[0].samples.values()) if each.scores else 0,
            "scores": {score.name: score.value for score in each.scores},
        }
        for each in found
    ]
    nothing = "nothing: it is never active in what is kept of it"
    return Reply(
        (f"{node}  {how}".rstrip(), *(lines or (nothing,))), {"node": node, "rows": rows, "careful": careful}
    )
