"""What a component does, in a sentence: what stores hold, what data alone says, what a language model says."""

from collections.abc import Sequence
from dataclasses import replace

from explanations.hypotheses import reading
from explanations.hypotheses.guessing import guess, kinds
from explanations.judging import judge, of_pairs
from explanations.published.catalogue import CAVEATS
from explanations.records import Explanation, Sampling
from explanations.splits import Splits, split
from model.components import Component
from tdb_tui.commands.exampling import NO_STORE
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError
from tdb_tui.explaining.asking import Question, explanation
from tdb_tui.explaining.endpoint import from_environment
from tdb_tui.explaining.jobs import kept
from tdb_tui.files.output import writes
from tdb_tui.language.arguments import one_component
from tdb_tui.language.parsing import Call, Word, unquote
from tdb_tui.language.registry import Stale
from tdb_tui.names import TEXT
from tdb_tui.replies import Reply, note
from tdb_tui.session import Session
from tdb_tui.tables.examples import explanation_lines
from tdb_tui.tables.known import Known

PERSON, READ = "person", "tokens named, 1"
"Who said a typed sentence, and how it was made a prediction."
NAMED = 8
"Tokens of a sentence that the answer names."


@command(
    "explain",
    "ex",
    usage="NODE [TEXT] [--by MODEL] [--from openai|neuronpedia] | --stop",
    group="seeing",
    stale=Stale.OF_NO_RUN,
    options={"by": True, "from": True, "stop": False},
    complete=("node", TEXT),
    examples=("explain L5H0", "explain L5H0 \"attends to ' Mary'\""),
)
def explain(session: Session, call: Call) -> Reply:
    """What a component does, in sentences with their scores, best first; or how well a sentence of yours predicts it.

    The sentences are those of the stores; where they have none, tables over tokens, neighbours, positions and repeats
    are fitted to the component's dataset examples, worded, and scored on others.  TEXT is scored by the tokens that it
    names: `active right after ' gave'`, `attends to the first token`, or any words.  `--by MODEL` has a language model
    behind the endpoint TDB_EXPLAINER_URL make a sentence, or predict from TEXT; on the screen it is asked in the
    background, and Ctrl-C or `--stop` drops that.  What is scored is kept: in the store given with `--store`, else in
    one of your own beside your data (`info stores`).
    `--from openai` or `--from neuronpedia` fetches what they have published about it, explanations and records, and
    keeps that for every session with this model.  A score is the correlation over all tokens of held-out sequences, for
    heads the ROC-AUC over pairs of tokens; `tdb-tui explain` does many components.
    """
    if call.has("stop"):
        return _stopped(session)
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
        return _by_model(session, Question(node, _splits(session, node), model, text))
    if text:
        return _scored(session, node, text, typed)
    found = stores.explanations(node)
    if any(each.method != PERSON for each in found):
        return _reply(session, node, found)
    made = sorted((*_guessed(session, node), *found), key=lambda each: -(each.score or 0.0))
    return _reply(session, node, made, "from data alone, made just now")


def _by_model(session: Session, question: Question) -> Reply:
    """Asked in the background where there is one, else at once.  Raises CommandError and Interrupted."""
    if not writes():  # a session that goes on: the question was asked when the line was typed
        return note(f"{question.model} is not asked about {question.node} again")
    spell = session.engine.tokenizer.text
    if session.background is not None:
        from_environment(question.model)  # complains before anything begins
        session.background.ask(question, spell)
        said = (
            f"{question.model} is asked about {question.node}: go on meanwhile, ^C or explain --stop drops it"
        )
        return note(said, node=question.node, rows=[])
    engine = session.engine

    def moved(far: str) -> None:
        engine.progress = far

    try:
        found = explanation(question, spell, engine.interrupt, moved)
    finally:
        engine.progress = ""
    if found is None:
        why = f"{question.model} gave no answer about {question.node} that could be read: nothing was kept"
        raise CommandError(why, "no-answer")
    kept(engine.stores, found)
    return _reply(session, question.node, [found])


def _stopped(session: Session) -> Reply:
    count = 0 if session.background is None else session.background.stop()
    return note(f"{count} question{'s' * (count != 1)} dropped" if count else "nothing is being asked")


def _scored(session: Session, node: str, text: str, typed: Word) -> Reply:
    """A person's sentence, by the tokens that it names."""
    splits, tokenizer = _splits(session, node), session.engine.tokenizer
    try:
        read = reading.read(text, of_pairs(splits), {id: tokenizer.text(id) for id in tokenizer.tokens})
    except ValueError as error:
        raise CommandError(f"{error}; or --by MODEL asks a language model", col=typed.col) from None
    found = Explanation(
        node,
        text,
        PERSON,
        prompt_version=READ,
        scores=judge(read.predict, splits),
        samples=kinds(splits.explain),
    )
    kept(session.engine.stores, found)
    some, more = read.words[:NAMED], len(read.words) - NAMED
    names = ", ".join(map(repr, some)) + (f" and {more} more" if more > 0 else "")
    return _reply(session, node, [found], f"read as: {names}")


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


def _reply(session: Session, node: str, found: Sequence[Explanation], how: str = "") -> Reply:
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
    said = (f"{node}  {how}".rstrip(), *(lines or (nothing,)))
    result = {"node": node, "rows": rows, "careful": careful}
    return Reply(said, result, view="page" if _on_page(session, node, found) else None)


def _on_page(session: Session, node: str, found: Sequence[Explanation]) -> bool:
    """Put what is said of a component on its page, where that is the one there is."""
    page = session.page
    if not isinstance(page, Known) or str(page.component) != node:
        return False
    scored = found[0] if found and found[0].method == PERSON else page.scored
    best = session.engine.stores.explanations(node) or tuple(found)
    session.page = replace(page, explanations=best, scored=scored)
    session.go(session.state)
    return True
