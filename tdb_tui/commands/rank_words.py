"""The words of `rank` -> what is to be ranked and how."""

from dataclasses import replace

from tdb_tui.effects import Effect
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.language.arguments import integer, node_word, position
from tdb_tui.language.filters import names_in, parse_filter
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.syntax import COMPARISONS, ExpressionError
from tdb_tui.session import Snapshot
from tdb_tui.state import RankView
from tdb_tui.tables.chosen import MEASURES
from tdb_tui.tables.ranking import KINDS, PER

FOLLOWING = {
    "by": "by total, by direct, by measured, by patched, by norm, by act or by attn",
    "in": "in L9, in A0-3",
    "per": "per component, per head, per layer or per token",
    "each": "each 5",
    "where": "where abs(direct) > 0.1",
}
"Words that need others after them, and examples of these."

SHORT = {"patch": "patched", "ablate": "measured"}
"What a measure may be called by the edit that is made for it."


def read_view(snapshot: Snapshot, call: Call) -> RankView:
    """The words of the command as a view; kinds and measure stay as they were where none are named.

    Raises CommandError, with the column.
    """
    view = replace(snapshot.state.rank, pos=None, within=(), sign="", per="", where=None, each=None, first=0)
    words = list(call.args)
    said: dict[str, Word] = {}
    while words:
        word = words.pop(0)
        if word.text in FOLLOWING and not word.quoted:
            if not words:
                message = f"{word.text!r} needs a word after it: {FOLLOWING[word.text]}"
                raise CommandError(message, "missing-argument", col=word.col)
            said[word.text] = words[0]
        match word.text:
            case kinds if kinds in KINDS:
                view = replace(view, kinds=KINDS[kinds])
            case "by":
                word = words.pop(0)
                word = replace(word, text=SHORT.get(word.text, word.text))
                view = replace(view, by=_one_of(word, MEASURES, "measure"))
            case "per":
                view = replace(view, per=_one_of(words.pop(0), PER, "group"))
            case "each":
                view = replace(view, each=integer(words.pop(0), "a number of rows", least=1))
            case "in":
                view = replace(view, within=(*view.within, *node_word(snapshot, words.pop(0)).components))
            case "where":
                view, words = _filtered(view, call, words)
            case "+" | "-":
                view = replace(view, sign=word.text)
            case text if text.startswith("@"):
                view = replace(view, pos=None if text == "@*" else position(snapshot, word))
            case text:
                known = [*KINDS, *FOLLOWING]
                right = did_you_mean(text, known) or f": rank takes {', '.join(KINDS)}"
                raise CommandError(f"unknown word {text!r}{right}", "bad-argument", col=word.col)
    if {"latent", "error"} & set(view.kinds) and not snapshot.now.trace.dictionaries:
        message = "no SAE loaded: latents are ranked where there is one (rank neurons)"
        raise CommandError(message, "no-sae", col=call.name.col)
    _refuse_unfit(view, said, call)
    return view


def effects_needed(view: RankView) -> list[Effect]:
    """What has to be measured of every row before the rows can be chosen and put in order."""
    named = {view.by} | (names_in(view.where) if view.where is not None else set[str]())
    return [effect for effect in Effect if effect.value in named]


def _one_of(word: Word, known: dict[str, str] | dict[str, tuple[str, ...]], what: str) -> str:
    if word.text not in known:
        suggestion = did_you_mean(word.text, known) or ": " + ", ".join(known)
        raise CommandError(f"unknown {what} {word.text!r}{suggestion}", "bad-argument", col=word.col)
    return word.text


def _filtered(view: RankView, call: Call, words: list[Word]) -> tuple[RankView, list[Word]]:
    """An expression is one word in quotes, or all that is typed up to the next option."""
    first, *others = words
    text, col = first.text, first.col + 1
    if not first.quoted or (others and others[0].text in COMPARISONS):
        rest = call.rest(call.args.index(first))
        text, col = rest.text, rest.col
        others = [word for word in others if word.col >= col + len(text)]
    try:
        expr = parse_filter(text)
    except ExpressionError as error:
        raise CommandError(error.message, error.code, error.hint, col + (error.col or 0)) from None
    return replace(view, where=expr), others


def _refuse_unfit(view: RankView, said: dict[str, Word], call: Call) -> None:
    """Raises CommandError for what groups do not have."""
    if not view.per:
        return
    col = said["per"].col
    if view.per == "head" and not set(view.kinds) <= {"head", "pair"}:
        raise CommandError(
            f"{', '.join(view.kinds)} are not all heads: rank heads per head, or per component",
            "bad-argument",
            col=col,
        )
    if view.by in PER[view.per]:
        at = said["by"].col if "by" in said else col
        message = f"groups have no {view.by}: by total, by direct, by measured or by patched"
        raise CommandError(message, "bad-argument", col=at)
    for name in sorted(names_in(view.where) if view.where is not None else ()):
        if name in PER[view.per]:
            message = f"groups per {view.per} have no {name}: leave it out of where, or leave out per"
            raise CommandError(message, "bad-argument", col=said["where"].col)
    if view.each is not None and view.per in ("layer", "token"):
        message = f"groups per {view.per} are of one kind: -n {view.each} shows the first {view.each}"
        raise CommandError(message, "bad-argument", col=said["each"].col)
