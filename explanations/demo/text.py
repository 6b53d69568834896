"""Text to look at the demo model with: documents never drawn for its training, and held-out prompts with an answer."""

from collections.abc import Iterator
from itertools import islice
from random import Random

from model.demo import text
from model.demo.tasks import TASKS, held_out_prompts


def documents(count: int, seed: int) -> Iterator[str]:
    """`count` of them: four in five drawn as training text is, from a seed of their own; the rest are prompts."""
    drawn = text.documents(Random(f"examples.{seed}"))
    prompts = count // 5 // len(TASKS)
    for task in TASKS:
        for prompt in held_out_prompts(task, prompts, seed):
            yield prompt.text + prompt.targets[0]
    yield from islice(drawn, count - prompts * len(TASKS))
