"""Language models made from functions, for tests: one that knows, one that stutters, one that talks nonsense."""

import json
import math
from collections.abc import Callable

from explanations.asking.requests import Answer, Request, Said

Speak = Callable[[Request], str]


def model_of(speak: Speak) -> "FakeModel":
    return FakeModel(speak)


class FakeModel:
    """Answers by a function of the request, and keeps what it was asked."""

    def __init__(self, speak: Speak) -> None:
        self.speak, self.seen = speak, list[Request]()

    async def __call__(self, request: Request) -> Answer:
        self.seen.append(request)
        text = self.speak(request)
        tokens = numbered(text) if request.logprobs and request.max_tokens > 1 else ()
        return Answer(text, tokens, prompt_tokens=10, answer_tokens=2)


def numbered(text: str) -> tuple[Said, ...]:
    """`word TAB digit NEWLINE` as an endpoint would cut it, quite sure of every digit."""
    found: list[Said] = []
    for line in text.splitlines():
        word, _, digit = line.rpartition("\t")
        found += [
            Said(f"{word}\t", {}),
            Said(digit, {digit: math.log(0.98), "0": math.log(0.02)}),
            Said("\n", {}),
        ]
    return tuple(found)


def knows(words: set[str], sentence: str) -> Speak:
    """Explains with `sentence`, and predicts `words` from that sentence alone."""

    def speak(request: Request) -> str:
        system, question = request.messages[0].content, request.messages[-1].content
        if "Say in one sentence" in system:
            return f"This neuron is {sentence}."
        right = sentence in request.messages[1].content
        if "JSON object" in system:
            asked = json.loads(request.messages[1].content)
            return json.dumps(
                {"activations": [10 * (right and each["token"] in words) for each in asked["activations"]]}
            )
        if "one token a line" in system:
            lines = question.split("\n\n", 1)[1].split("\n")
            return "\n".join(f"{line}\t{9 if right and line in words else 0}" for line in lines)
        text = question.split("\n\n", 1)[1]
        marked = [part.split(">>")[0] for part in text.split("<<")[1:]]
        yes = (
            all(mark in words for mark in marked)
            if marked
            else any(word in text + " " for word in spaced(words))
        )
        return str(int(right and yes))

    return speak


def spaced(words: set[str]) -> list[str]:
    return [f"{word} " for word in words]
