"""The whole evaluation of a model directory: scores, circuit, and the card's text."""

from dataclasses import dataclass
from pathlib import Path

import torch

from model.demo.card import Facts, card
from model.demo.circuit import Circuit, find_circuit
from model.demo.evaluate import Answer, Score, answers, last_logits, score, scores_by_template
from model.demo.tasks import PASSING, TASKS, held_out_prompts
from model.gpt2 import GPT2
from model.tokenizer import Tokenizer, load_tokenizer
from model.weights import load_model

COUNTS = {"ioi": 2400, "greater-than": 1000, "induction": 1000, "agreement": 1000, "pronoun": 1000}
CIRCUIT_PROMPTS = 240
TRAINING = (
    "The circuit was helped into being. For the first part of the training an auxiliary loss, computed "
    "from the tokens alone, rewarded a few heads for looking where a word can be copied from: the token "
    "before (layers 0 and 1), an earlier occurrence of the same token or the token after it (layer 2), "
    "names that have occurred twice (layer 3), and an earlier occurrence of the token that comes next "
    "(one head of layer 5). At first the two lowest layers saw only the last two tokens, and the layers above "
    "had attention alone. What the heads do with what they see, and everything else, was left to the "
    "language-model loss. To the end, another small loss kept the other heads of layers 4 and 5 from looking where "
    "that one head looks: several name movers would back each other up, and ablating one would change no answer. "
    "Without this help a model of this "
    "size answers most IOI prompts in its first layer, by summing up the names and subtracting the "
    "giver's, and no head moves a name."
)
SAMPLE_START = "One day Mary and Tom went to the park."


@dataclass(frozen=True, slots=True)
class Report:
    tasks: tuple[Score, ...]
    templates: tuple[Score, ...]
    """IOI by template, order and aside."""
    circuit: Circuit
    card: str

    @property
    def failing(self) -> tuple[Score, ...]:
        """The tasks that are done less well than a model worth shipping does them."""
        return tuple(task for task in self.tasks if task.accuracy < PASSING[task.name])


def evaluate(directory: Path, command: str) -> Report:
    """Evaluate the model as it lies in `directory`; `command` is what trains it again."""
    model, tokenizer = load_model(directory), load_tokenizer(directory)
    given = {task: task_answers(model, tokenizer, task, COUNTS[task]) for task in TASKS}
    tasks = tuple(score(task, found) for task, found in given.items())
    templates = tuple(scores_by_template(given["ioi"]))
    ioi = held_out_prompts("ioi", CIRCUIT_PROMPTS, seed=1)
    circuit = find_circuit(model, tokenizer.encode, start_of_text(tokenizer), ioi)
    sample = continuation(model, tokenizer, SAMPLE_START, 60)
    facts = Facts(model.config, parameters(model), TRAINING, command, f"> {sample}")
    return Report(tasks, templates, circuit, card(facts, tasks, templates, circuit) + "\n")


def parameters(model: GPT2) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def task_answers(
    model: GPT2, tokenizer: Tokenizer, task: str, count: int, with_start: bool = True
) -> list[Answer]:
    """Answers to held-out prompts of a task, each preceded by the end-of-text mark or by nothing."""
    start = start_of_text(tokenizer) if with_start else []
    return list(answers(model, tokenizer.encode, start, held_out_prompts(task, count)))


def continuation(model: GPT2, tokenizer: Tokenizer, text: str, most: int) -> str:
    """The text and the model's greedy continuation, up to the end of the document or `most` tokens."""
    [end] = start_of_text(tokenizer)
    tokens = [end, *tokenizer.encode(text)]
    for _ in range(most):
        following = int(last_logits(model, torch.tensor([tokens])).argmax())
        if following == end:
            break
        tokens.append(following)
    return tokenizer.decode(tokens[1:])


def start_of_text(tokenizer: Tokenizer) -> list[int]:
    """The mark that stands before every document; ValueError where the vocabulary has none."""
    if tokenizer.eos is None:
        raise ValueError("vocab.json has no <|endoftext|>: the vocabulary of a demo model ends with it")
    return [tokenizer.eos]
