"""The endpoint's client against a server that behaves well, badly and slowly."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from explanations.asking.requests import Answer, AskError, BudgetSpent, Message, Request
from tdb_tui.explaining.endpoint import Endpoint, Limits, from_environment
from tdb_tui.machine.patience import Patience
from tests.explaining.language_model import TRICKLE, Behave, serving

T = TypeVar("T")
HELLO = Request((Message("user", "hello"),), 5)
QUICK = Limits(patience=Patience(first_wait=0.01, longest_wait=0.05, timeout=5))


def echo(request: Request) -> str:
    return request.messages[-1].content.upper()


def with_endpoint(
    url: str, use: Callable[[Endpoint], Awaitable[T]], limits: Limits = QUICK, key: str | None = None
) -> T:
    async def run() -> T:
        endpoint = Endpoint(url, "m", key, limits)
        try:
            return await use(endpoint)
        finally:
            await endpoint.close()

    return asyncio.run(run())


def ask(url: str, limits: Limits = QUICK) -> tuple[Answer, int]:
    async def use(endpoint: Endpoint) -> tuple[Answer, int]:
        return await endpoint(HELLO), endpoint.retried

    return with_endpoint(url, use, limits)


def test_what_is_sent_and_what_comes_back() -> None:
    request = Request((Message("system", "s"), Message("user", "a\t3")), 5, 0.5, json=True, logprobs=20)
    with serving(lambda request: "a\t3") as server:
        answer = with_endpoint(server.url, lambda endpoint: endpoint(request), key="secret")
    assert server.keys == ["Bearer secret"]
    assert server.bodies == [
        {
            "model": "m",
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a\t3"}],
            "max_tokens": 5,
            "temperature": 0.5,
            "response_format": {"type": "json_object"},
            "logprobs": True,
            "top_logprobs": 20,
        }
    ]
    assert (answer.text, answer.prompt_tokens, answer.answer_tokens) == ("a\t3", 7, 3)
    assert [said.text for said in answer.tokens] == ["a\t", "3", "\n"]
    assert set(answer.tokens[1].likely) == {"3", "0"}


BROKEN: dict[str, tuple[int, dict[str, str], bytes]] = {
    "too many requests": (429, {"Retry-After": "0.01"}, b"slow down"),
    "a date to retry after": (429, {"Retry-After": "Fri, 27 Nov 2026 00:00:00 GMT"}, b""),
    "a server error": (500, {}, b"<html>oops</html>"),
    "overloaded": (503, {}, b'{"error": {"message": "overloaded"}}'),
    "bad JSON": (200, {}, b"{"),
    "no choices": (200, {}, b'{"choices": []}'),
    "no text": (200, {}, b'{"choices": [{"message": {"content": null}}]}'),
    "a list": (200, {}, b"[]"),
    "a truncated stream": (200, {"Content-Length": "100000"}, b'{"choices": [{"mess'),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_passes_is_tried_again(name: str) -> None:
    def behave(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes] | None:
        return BROKEN[name] if number < 2 else None

    with serving(echo, behave) as server:
        answer, retried = ask(server.url)
    assert (answer.text, retried, len(server.bodies)) == ("HELLO", 2, 3)


def test_a_server_that_hangs_is_left_and_asked_again() -> None:
    def behave(number: int, body: dict[str, Any]) -> float | None:
        return 1.5 if number == 0 else None

    with serving(echo, behave) as server:
        answer, retried = ask(server.url, Limits(patience=Patience(first_wait=0.01, timeout=0.5)))
    assert (answer.text, retried) == ("HELLO", 1)


def test_a_server_that_answers_byte_by_byte_is_left_in_time() -> None:
    def behave(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes] | None:
        return (200, {TRICKLE: "0.05"}, b" " * 200) if number == 0 else None

    with serving(echo, behave) as server:
        answer, retried = ask(server.url, Limits(patience=Patience(first_wait=0.01, timeout=0.5)))
    assert (answer.text, retried) == ("HELLO", 1)


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (lambda number, body: (500, {}, b"oops"), "gave no answer in 3 tries, the last time: 500 oops"),
        (lambda number, body: (401, {}, b'{"error": {"message": "bad key"}}'), "refused: 401 bad key"),
        (lambda number, body: (404, {}, b'{"error": "no \\u001b[2J model"}'), "refused: 404 no "),
        (lambda number, body: (200, {}, b"x" * (9 << 20)), "not a chat completion"),
    ],
)
def test_what_does_not_pass_is_one_sentence_without_control_characters(behave: Behave, why: str) -> None:
    with serving(echo, behave) as server, pytest.raises(AskError) as failed:
        ask(server.url, Limits(patience=Patience(tries=3, first_wait=0.01)))
    assert why in str(failed.value)
    assert all(character.isprintable() for character in str(failed.value))


def test_a_refusal_is_not_repeated_and_nobody_there_is_one_sentence() -> None:
    with serving(echo, lambda number, body: (403, {}, b"no")) as server:
        with pytest.raises(AskError):
            ask(server.url)
        assert len(server.bodies) == 1
    with pytest.raises(AskError, match="gave no answer in 2 tries"):
        ask(server.url, Limits(patience=Patience(tries=2, first_wait=0.01)))


def test_log_probabilities_that_are_refused_are_not_asked_for_again() -> None:
    request = Request((Message("user", "a\t3"),), 5, logprobs=20)

    def behave(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes] | None:
        refused = b'{"error": {"message": "logprobs are not supported"}}'
        return (400, {}, refused) if "logprobs" in body else None

    async def twice(endpoint: Endpoint) -> list[Answer]:
        return [await endpoint(request), await endpoint(request)]

    with serving(lambda request: "a\t3", behave) as server:
        answers = with_endpoint(server.url, twice)
    assert [answer.tokens for answer in answers] == [(), ()]
    assert len(server.bodies) == 3


def test_so_many_at_once_and_no_more() -> None:
    async def many(endpoint: Endpoint) -> list[Answer]:
        return list(await asyncio.gather(*(endpoint(HELLO) for _ in range(12))))

    with serving(echo, lambda number, body: 0.05) as server:
        answers = with_endpoint(server.url, many, Limits(at_once=3))
    assert len(answers) == 12
    assert 2 <= server.most_at_once <= 3


def test_nothing_is_sent_that_could_go_over_the_budget() -> None:
    cost = HELLO.estimated_tokens()

    async def until_spent(endpoint: Endpoint) -> int:
        with pytest.raises(BudgetSpent, match="the budget of 40 tokens is spent"):
            for _ in range(100):
                await endpoint(HELLO)
        return endpoint.spent

    with serving(echo) as server:
        spent = with_endpoint(server.url, until_spent, Limits(tokens=40))
    assert spent == 10 * len(server.bodies)
    assert spent <= 40 < spent + cost + 10


def test_the_environment_names_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AskError, match="set TDB_EXPLAINER_URL"):
        from_environment("m")
    monkeypatch.setenv("TDB_EXPLAINER_URL", "localhost:8000")
    with pytest.raises(AskError, match="http://"):
        from_environment("m")
    monkeypatch.setenv("TDB_EXPLAINER_URL", "http://localhost:8000/v1/")
    with pytest.raises(AskError, match="--explainer MODEL"):
        from_environment(None)
