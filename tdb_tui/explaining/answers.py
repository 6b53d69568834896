"""What an OpenAI-compatible endpoint sends, as an answer."""

import json
from typing import Any

from explanations.asking.requests import Answer, Request, Said
from tdb_tui.machine.patience import Unreadable


def as_json(request: Request, model: str) -> dict[str, Any]:
    """The body of a chat completion."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": each.role, "content": each.content} for each in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
    }
    if request.json:
        body["response_format"] = {"type": "json_object"}
    if request.logprobs:
        body |= {"logprobs": True, "top_logprobs": request.logprobs}
    return body


def as_answer(content: bytes) -> Answer:
    """Raises Unreadable for anything that is not a chat completion."""
    try:
        found = json.loads(content)
        choice = found["choices"][0]
        text = choice["message"]["content"]
        usage = found.get("usage") or {}
        counts = (int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens"))
        if not isinstance(text, str):
            raise Unreadable("the answer has no text")
        return Answer(text, tuple(map(_said, _logprobs(choice))), *counts)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise Unreadable(f"the answer is not a chat completion ({type(error).__name__})") from error


def complaint(content: bytes) -> str:
    """What the endpoint says is wrong, or the beginning of whatever it sent."""
    try:
        said = json.loads(content)["error"]
        return str(said["message"] if isinstance(said, dict) else said)[:200]
    except (ValueError, KeyError, TypeError):
        return content[:200].decode("utf-8", "replace")


def _logprobs(choice: dict[str, Any]) -> list[dict[str, Any]]:
    return (choice.get("logprobs") or {}).get("content") or []


def _said(token: dict[str, Any]) -> Said:
    likely = {each["token"]: float(each["logprob"]) for each in token.get("top_logprobs") or []}
    return Said(str(token["token"]), likely or {str(token["token"]): float(token["logprob"])})
