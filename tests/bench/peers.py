"""Another library, asked to do the same work in a process and an environment of its own."""

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.bench.measuring import Took

SWEEPS = Path(__file__).with_name("transformer_lens_sweeps.py")


class TransformerLens:
    """TransformerLens's own sweeps, one at a time, on a model directory.  Raises RuntimeError where it does not start."""

    def __init__(self, python: str, model: Path, threads: int) -> None:
        command = [python, str(SWEEPS), str(model), str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.values: dict[str, list[float]] = {}
        "What each sweep found, in order."
        self.version = str(self._answer()["version"])

    def __enter__(self) -> "TransformerLens":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def sweep(self, name: str, *prompts: tuple[int, ...]) -> Took:
        """`heads` (ablated), `residual`, or what follows `get_act_patch_`; the seconds are its own."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"sweep": name, "prompts": prompts}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        self.values[name] = answer["values"]
        return Took(answer["wall"], answer["cpu"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # anything else is its own chatter
                return json.loads(line)
        raise RuntimeError("the other library's process ended: is transformer_lens in that environment?")
