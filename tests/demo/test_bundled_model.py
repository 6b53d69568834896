"""The model that ships: its size, its format, and that it does what its card says."""

import json
from pathlib import Path

import pytest
import torch

from model.demo.circuit import find_circuit
from model.demo.evaluate import answers, score
from model.demo.report import continuation, start_of_text, task_answers
from model.demo.tasks import EXAMPLES, PASSING, TASKS, held_out_prompts
from model.tokenizer import load_tokenizer
from model.weights import load_model

BUNDLED = Path(__file__).parents[2] / "model" / "demo" / "gpt2-demo"
FILES = ("README.md", "config.json", "merges.txt", "model.safetensors", "vocab.json")
TOKENIZER = load_tokenizer(BUNDLED)
[END] = start_of_text(TOKENIZER)


@pytest.fixture(scope="module")
def model():
    return load_model(BUNDLED)


def test_the_directory_holds_five_files_of_ten_megabytes_at_most():
    assert sorted(path.name for path in BUNDLED.iterdir()) == sorted(FILES)
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) <= 10_000_000


@pytest.mark.parametrize("task", TASKS)
def test_it_does_the_task_on_held_out_prompts(model, task: str):
    given = task_answers(model, TOKENIZER, task, 384)
    assert score(task, given).accuracy >= PASSING[task]


def test_its_mean_logit_diff_on_ioi_is_at_least_five_with_and_without_an_aside(model):
    given = task_answers(model, TOKENIZER, "ioi", 384)
    for with_aside in (False, True):
        part = [answer for answer in given if answer.prompt.template.endswith("+ aside") is with_aside]
        measured = score("ioi", part)
        assert measured.mean_margin >= 5 and measured.accuracy >= 0.99


@pytest.mark.parametrize("task", TASKS)
def test_it_does_not_depend_on_the_mark_at_the_start(model, task: str):
    given = task_answers(model, TOKENIZER, task, 192, with_start=False)
    assert score(task, given).accuracy >= PASSING[task] - 0.02


@pytest.mark.parametrize("prompt", EXAMPLES, ids=lambda prompt: prompt.task)
def test_it_answers_the_documented_examples(model, prompt):
    [answer] = answers(model, TOKENIZER.encode, [END], [prompt])
    assert answer.margin > 0 and answer.first


def test_its_text_is_made_of_whole_sentences(model):
    text = continuation(model, TOKENIZER, "One day Anna and Tom went to the park.", 120)
    sentences = text.removesuffix('"').split(". ")
    assert len(sentences) >= 3 and all(sentence.strip('"')[0].isupper() for sentence in sentences)
    assert text.endswith((".", '"'))


def test_zeroing_the_head_that_ranks_first_changes_most_answers(model):
    circuit = find_circuit(model, TOKENIZER.encode, [END], held_out_prompts("ioi", 96))
    untouched, first, *_ = circuit.ablations
    assert untouched.changed <= 0.05
    assert first.changed > 0.5 and first.mean_logit_diff < untouched.mean_logit_diff
    assert circuit.heads[0].end_to_io > 0.5 and circuit.heads[0].direct_effect > 1


def test_transformers_loads_it_and_gives_the_same_logits(model):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(str(BUNDLED), dtype=torch.float32).eval()
    tokens = torch.tensor([[END, *TOKENIZER.encode(EXAMPLES[0].text)]])
    with torch.no_grad():
        difference = (theirs(tokens).logits - model(tokens)).abs().max()
    assert difference < 1e-4


def test_its_configuration_is_that_of_a_published_gpt2():
    config = json.loads((BUNDLED / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "gpt2" and config["architectures"] == ["GPT2LMHeadModel"]
    assert (config["n_layer"], config["n_head"]) == (6, 8)
    assert config["vocab_size"] == TOKENIZER.n_vocab and config["bos_token_id"] == END
