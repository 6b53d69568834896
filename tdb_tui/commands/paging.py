"""The page of a component: what `info NODE` looks up, and leads to on the screen."""

from dataclasses import replace

from model.components import Component
from tdb_tui.commands.exampling import known_lines
from tdb_tui.commands.inspecting import measured
from tdb_tui.commands.noting import notes_of
from tdb_tui.errors import CommandError
from tdb_tui.formats import plain, token_label
from tdb_tui.language.arguments import node_word, one_node
from tdb_tui.language.parsing import Call, Word, unquote
from tdb_tui.replies import Reply
from tdb_tui.session import Session, Snapshot
from tdb_tui.tables.acts import first_counted, peak_of
from tdb_tui.tables.known import Found, Known, Tried, known
from tdb_tui.texts import read_prompt

TRIED = 3
"Typed texts that a page keeps."


def page_of(session: Session, call: Call, part: Component) -> Reply:
    """`info NODE [TEXT]`: all that is known of a component, and the page on the screen.  Raises CommandError."""
    word, text = call.args[0], call.rest(1)
    reply = measured(session.snapshot, one_node(session.snapshot, word))
    tried = _tried(session, part, text) if text.text else ()
    session.page = _page(session, word, part, tried, reply.lines)
    session.go(session.state)
    said = (*_tried_lines(session, tried), *known_lines(session.engine.tokenizer, session.page))
    acts = [{"tokens": list(each.tokens), "activations": each.acts.tolist()} for each in tried]
    result = {**reply.result, "tried": acts} if acts else reply.result
    return replace(reply, lines=(*reply.lines, *said), result=result, view="page")


def _page(
    session: Session, word: Word, part: Component, tried: tuple[Tried, ...], measures: tuple[str, ...]
) -> Known:
    found, before = known(session.engine.stores, part), session.page
    again = before if isinstance(before, Known) and before.component == part else None
    placed = node_word(session.snapshot, word)
    return replace(
        found,
        notes=tuple(dict.fromkeys((*notes_of(session.state, str(part)), *found.notes))),
        measures=measures,
        tried=(*tried, *(again.tried if again else ()))[:TRIED],
        pos=placed.span.first if placed.placed and placed.span is not None else None,
        found=isinstance(before, Found) or (isinstance(before, Known) and before.found),
    )


def _tried(session: Session, part: Component, text: Word) -> tuple[Tried, ...]:
    try:
        return (tried_on(session, part, unquote(text.text)),)
    except CommandError as error:
        raise CommandError(error.message, error.code, error.hint, text.col) from None


def tried_on(session: Session, part: Component, text: str) -> Tried:
    """What a component does on a text.  Raises CommandError."""
    inputs = session.state.inputs
    prompt = read_prompt(session.engine, text, inputs.prompt.bos)
    acts = session.engine.acts_on(prompt, inputs, part)
    if acts is None:
        raise CommandError(f"{part} has no activation to show on a text", code="bad-node")
    return Tried(prompt.tokens, acts)


def while_typed(session: Session, text: str) -> Snapshot:
    """The snapshot with what the page's component does on a text that is still being typed; nothing of it is kept."""
    page = session.page
    if not text or not isinstance(page, Known):
        return session.snapshot
    try:
        with session.engine.runs.unkept():
            return replace(
                session.snapshot, page=replace(page, tried=(tried_on(session, page.component, text),))
            )
    except CommandError:  # too long, say: Enter tells why
        return session.snapshot


def _tried_lines(session: Session, tried: tuple[Tried, ...]) -> list[str]:
    tokenizer = session.engine.tokenizer
    said: list[str] = []
    for each in tried:
        peak, key = peak_of(each.acts, first_counted(each.tokens, tokenizer.eos))
        value = plain(float(each.acts[peak] if key is None else each.acts[peak, key]))
        read = "" if key is None else f" reading {token_label(key, each.tokens, tokenizer)}"
        said.append(f"typed: up to {value} at {token_label(peak, each.tokens, tokenizer)}{read}")
    return said
