"""A language model behind an OpenAI-compatible endpoint: so many questions at once, patience, and a budget."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import httpx

from explanations.asking.requests import Answer, AskError, BudgetSpent, Request
from model.printable import printable
from tdb_tui.explaining.answers import as_answer, as_json, complaint
from tdb_tui.machine.patience import NoAnswer, Patience, Refused, Response, patiently, received

URL, KEY = "TDB_EXPLAINER_URL", "TDB_EXPLAINER_KEY"
"Environment variables: where it is, up to and without /chat/completions, and what opens it."
LARGEST = 8 << 20
"Bytes of an answer; a longer one is cut off and counts as unreadable."
MEND = (400, 422)
"How endpoints refuse a request that asks for log-probabilities they don't have."


@dataclass(frozen=True, slots=True)
class Limits:
    at_once: int = 8
    tokens: int | None = None
    "What all prompts and answers may take together; None: no end."
    patience: Patience = field(default_factory=Patience)


class Endpoint:
    """Asks; an instance is the `Ask` of `explanations.asking`.  Belongs to one event loop."""

    def __init__(self, url: str, model: str, key: str | None = None, limits: Limits = Limits()) -> None:
        self.model, self.limits = model, limits
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._client = httpx.AsyncClient(headers=headers, timeout=limits.patience.timeout)
        self._places = asyncio.Semaphore(limits.at_once)
        self._spent = self._promised = 0
        self.retried = 0
        "Tries after the first, of all questions."
        self.logprobs = True
        "Whether it has not yet refused to give log-probabilities."
        self.waits: Callable[[float], object] = lambda seconds: None
        "Told of every wait, for whoever shows it."

    @property
    def spent(self) -> int:
        """Tokens that the endpoint says it took."""
        return self._spent

    async def close(self) -> None:
        await self._client.aclose()

    async def __call__(self, request: Request) -> Answer:
        """Raises AskError, and BudgetSpent before anything is sent that could go over the budget."""
        async with self._places:
            cost = request.estimated_tokens()
            if self.limits.tokens is not None and self._spent + self._promised + cost > self.limits.tokens:
                raise BudgetSpent(
                    f"the budget of {self.limits.tokens:,} tokens is spent: {self._spent:,} were used"
                )
            self._promised += cost
            try:
                answer = await self._patiently(request)
            finally:
                self._promised -= cost
            # an endpoint that does not count is taken at the estimate
            self._spent += answer.prompt_tokens + answer.answer_tokens or cost
            return answer

    async def _patiently(self, request: Request) -> Answer:
        def waits(seconds: float) -> None:
            self.retried += 1
            self.waits(seconds)

        try:
            return await patiently(
                lambda: self._send(request), as_answer, self.limits.patience, waits, complaint
            )
        except Refused as refused:
            if refused.status in MEND and request.logprobs and self.logprobs:
                self.logprobs = False
                return await self._patiently(request)
            why = f"{refused.status} {printable(complaint(refused.content))}"
            raise AskError(f"{self._url} refused: {why}") from None
        except NoAnswer as error:
            raise AskError(f"{self._url} gave {error}") from None

    async def _send(self, request: Request) -> Response:
        body = as_json(request if self.logprobs else replace(request, logprobs=0), self.model)
        async with self._client.stream("POST", self._url, json=body) as response:
            return await received(response, LARGEST)


def from_environment(model: str | None, url: str | None = None, limits: Limits = Limits()) -> Endpoint:
    """The user's own endpoint.  Raises AskError, one sentence, where none is named."""
    url = url or os.environ.get(URL)
    if not url:
        raise AskError(f"no language model to ask: set {URL}, for example to http://localhost:8000/v1")
    if not model:
        raise AskError("say which model the endpoint should ask: --explainer MODEL")
    if not url.startswith(("http://", "https://")):
        raise AskError(f"{url!r} is not an address: one that begins with http:// or https:// was expected")
    return Endpoint(url, model, os.environ.get(KEY), limits)
