"""A language model that can be foreseen: it names the tokens that it was shown as active, and predicts these again."""

import json
import re

from explanations.asking.requests import Request

NAMED = 3
"Tokens that an explanation names."


def explains_what_it_sees(request: Request) -> str:
    """Explains by the tokens most active in what it is shown; predicts by what an explanation names, and is a bit off."""
    system, question = request.messages[0].content, request.messages[-1].content
    if "Say in one sentence" in system:
        return "This neuron is active on " + ", ".join(f"<{token}>" for token in strongest(question))
    if "JSON object" in system:
        asked = json.loads(request.messages[1].content)
        words = [each["token"] for each in asked["activations"]]
        return json.dumps({"activations": [predicted(asked["to_find"], word) for word in words]})
    said, text = request.messages[1].content.split("\n\n", 1)
    marked = re.findall("<<(.*?)>>", text)
    names = named(said)
    return str(int(all(word in names for word in marked) if marked else any(word in text for word in names)))


def strongest(shown: str) -> list[str]:
    """Of lines of token, tab, number: the tokens with the largest sums."""
    sums: dict[str, int] = {}
    for line in shown.splitlines():
        token, tab, number = line.rpartition("\t")
        if tab:
            sums[token] = sums.get(token, 0) + int(number)
    return sorted((token for token in sums if sums[token]), key=lambda token: (-sums[token], token))[:NAMED]


def named(explanation: str) -> list[str]:
    return re.findall("<([^<>]*)>", explanation)


def predicted(explanation: str, word: str) -> int:
    """9 on what is named; elsewhere 0, or 1 to 3 by the word's length: as unsure as language models are."""
    return 9 if word in named(explanation) else len(word) % 4
