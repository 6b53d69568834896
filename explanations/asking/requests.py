"""What is asked of a language model, what it answers, and what that took; who asks it is an argument."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

T = TypeVar("T")

CHARACTERS_A_TOKEN = 4
"A rule of thumb for estimates, which name it."


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    "`system`, `user` or `assistant`."
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    json: bool = False
    "Whether the answer has to be a JSON object."
    logprobs: int = 0
    "For how many tokens at each place the answer should say how likely they were; 0: none."

    def estimated_tokens(self) -> int:
        """Prompt and longest answer together, by the length of the text."""
        written = sum(len(message.content) for message in self.messages)
        return written // CHARACTERS_A_TOKEN + self.max_tokens


@dataclass(frozen=True, slots=True)
class Said:
    """One token of an answer, and the log-probabilities of what might have stood there."""

    text: str
    likely: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    tokens: tuple[Said, ...] = ()
    "Empty where the endpoint offers no log-probabilities."
    prompt_tokens: int = 0
    answer_tokens: int = 0


class AskError(Exception):
    """No answer is to be had: one sentence."""


class BudgetSpent(AskError):
    """What may be spent is spent; what was answered before stays."""


Ask = Callable[[Request], Awaitable[Answer]]
"Raises AskError."


@dataclass(slots=True)
class Tally:
    """What a run has taken so far.  The one value here that changes: it is shared by everything that asks at once."""

    asked: int = 0
    bad: int = 0
    "Answers that were not in the form asked for."
    given_up: int = 0
    "Questions that had no good answer after all tries; they count in no score."
    tokens: int = 0
    reasons: dict[str, int] = field(default_factory=dict[str, int])
    "Why answers were bad, and how often."

    def count(self, answer: Answer) -> None:
        self.asked += 1
        self.tokens += answer.prompt_tokens + answer.answer_tokens

    def count_bad(self, reason: str) -> None:
        self.bad += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1


class BadAnswer(ValueError):
    """An answer that is not in the form asked for; says why in a few words."""


TRIES = 3


async def asked(ask: Ask, request: Request, read: Callable[[Answer], T], tally: Tally) -> T | None:
    """What `read` makes of the answer; asked again where it raises BadAnswer, at most `TRIES` times, then None.

    A second try tells the model what was wrong with the first.
    """
    messages = request.messages
    for _ in range(TRIES):
        answer = await ask(replace(request, messages=messages))
        tally.count(answer)
        try:
            return read(answer)
        except BadAnswer as error:
            tally.count_bad(str(error))
            messages = (
                *request.messages,
                Message("assistant", answer.text[:2000]),
                Message(
                    "user", f"That cannot be read: {error}.  Answer again, exactly in the form asked for."
                ),
            )
    tally.given_up += 1
    return None
