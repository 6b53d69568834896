"""Texts as prompts and tokens, and the beginning of a session as the commands that say it."""

from collections.abc import Sequence
from typing import Protocol

from model.tokenizer import Tokenizer
from model.vocabulary import TokenizerError
from tdb_tui.engine import ModelInfo
from tdb_tui.errors import CommandError
from tdb_tui.language.parsing import quote
from tdb_tui.metrics import is_usual, metric_words
from tdb_tui.saes import words_of
from tdb_tui.state import Inputs, Prompt


class Knows(Protocol):
    """What knows the model's words and limits: the engine, or a snapshot."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def info(self) -> ModelInfo: ...


def opening(inputs: Inputs, tokenizer: Tokenizer) -> tuple[str, ...]:
    """Commands that give another session these prompts, tokens, metric and means."""
    metric, other = inputs.metric, inputs.prompt_b
    targets, distractors = (
        " ".join(quote(tokenizer.text(token)) for token in tokens)
        for tokens in (metric.targets, metric.distractors)
    )
    end = len(inputs.prompt.tokens) - 1
    return (
        f"prompt {'--bos' if inputs.prompt.bos else '--no-bos'} {quote(inputs.prompt.text)}",
        *([] if other is None else [f"prompt B {quote(other.text)}"]),
        f"target {targets}",
        f"distractor {distractors}".rstrip(),
        *([] if is_usual(metric, end) else [f"set metric {metric_words(metric, end)}"]),
        *([] if inputs.means is None else [f"set means {inputs.means.text}"]),
        *(f"set sae {quote(word)}" for word in words_of(inputs.saes)),
    )


def read_prompt(engine: Knows, text: str, bos: bool) -> Prompt:
    """Text -> tokens, `<|endoftext|>` put before them unless it is there.  Raises CommandError."""
    tokenizer = engine.tokenizer
    try:
        tokens = tokenizer.encode(text)
    except TokenizerError as error:
        raise CommandError(str(error), code="bad-prompt") from None
    if bos and tokenizer.eos is not None and tokens[:1] != [tokenizer.eos]:
        tokens = [tokenizer.eos, *tokens]
    if not tokens:
        raise CommandError("the prompt is empty: give some text in quotes", code="bad-prompt")
    limit = engine.info.config.n_ctx
    if len(tokens) > limit:
        message = f"the prompt has {len(tokens)} tokens: {engine.info.name} reads at most {limit}"
        raise CommandError(message, code="bad-prompt")
    return Prompt(text, tuple(tokens), bos and tokenizer.eos is not None)


def resolve_tokens(
    tokenizer: Tokenizer, words: Sequence[str], what: str, after: str
) -> tuple[tuple[int, ...], list[str]]:
    """Words -> one token each as they follow `after`, and notes on those not taken as typed.  Raises CommandError."""
    found: list[int] = []
    notes: list[str] = []
    for text in words:
        try:
            resolution = tokenizer.resolve_single(text, after)
        except TokenizerError as error:
            message = str(error).replace("target must", f"{what} must", 1)
            raise CommandError(message, code="bad-token") from None
        found.append(resolution.id)
        if resolution.note:
            notes.append(resolution.note)
    return tuple(found), notes
