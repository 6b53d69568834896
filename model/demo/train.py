"""Training the demo model from scratch: a generator of progress, with checkpoints that resume exactly."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.demo.bpe import count_words, learn_merges, load_bpe, save_bpe, year_merges
from model.demo.files import save_model
from model.demo.guide import Watch, Words, guide_loss, rival_loss, targets, words
from model.demo.text import ALL_KINDS, COPYING_KINDS, END_OF_TEXT, batch, documents
from model.gpt2 import GPT2, Block, Config
from model.sites import Hook, Site, compose

CHECKPOINT = "checkpoint.pt"
LOCAL_LAYERS = 2
"""The layers that see only the last few tokens at first, and have their MLPs from the start."""
SHAPES = ((32, 64), (32, 64), (16, 128), (32, 64), (32, 64), (8, 256))
"""Rows and length of a batch, in turn: mostly short rows, which cost less, and every position of the context."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a training run depends on."""

    seed: int = 0
    steps: int = 3800
    copying_steps: int = 300
    """Steps at the beginning on text that is all about copying."""
    n_layer: int = 6
    n_head: int = 8
    d_model: int = 192
    n_ctx: int = 256
    most_merges: int = 2500
    texts_for_bpe: int = 20_000
    copying_shape: tuple[int, int] = (48, 32)
    forming_steps: int = 900
    """Steps at the beginning in which a simpler model of the same weights is trained: see `forming_logits`."""
    widening_steps: int = 600
    """Steps after those in which the lowest layers come to see all tokens."""
    window: int = 2
    penalty: float = 10.0
    """What a token further away has against it at first, in attention scores."""
    guided_steps: int = 2100
    """Steps at the beginning in which some heads are told where to look (see `guide.py`); it fades at their end."""
    guidance: float = 0.5
    separation: float = 0.2
    """The weight, to the end, of the loss that keeps other heads from doing what the name mover does."""
    shapes: tuple[tuple[int, int], ...] = SHAPES
    finishing_steps: int = 120
    """A short stretch after those, at a higher rate again, on other text."""
    finishing_rate: float = 6e-4
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.1
    clip: float = 1.0
    dtype: str = "bfloat16"
    """Of the matrix products while training: "bfloat16" or "float32"; the weights are always float32."""
    checkpoint_every: int = 100

    @property
    def last(self) -> int:
        """The number of steps in all."""
        return self.steps + self.finishing_steps


@dataclass(frozen=True, slots=True)
class Progress:
    step: int
    steps: int
    loss: float
    """Mean cross-entropy of this step's tokens, in nats."""
    guide: float
    """How surprised the guide is, in nats; after its end it only watches."""
    rivals: float
    """How much other heads do what the mover does, in nats."""
    learning_rate: float


@dataclass(slots=True)
class Run:
    """What training changes as it goes."""

    model: GPT2
    optimizer: torch.optim.Optimizer
    step: int = field(default=0)


def train(plan: Plan, directory: Path, resume: bool = False) -> Iterator[Progress]:
    """Train into `directory`: the tokenizer first, a checkpoint now and then, the model in half precision at the end.

    With `resume` the run goes on from the checkpoint in `directory`, and sees the text it would have seen.
    Raises ValueError if there is none or it belongs to another plan.
    """
    if not resume:
        learn_bpe(plan, directory)
    encoding = load_bpe(directory)
    run = new_run(plan, encoding.n_vocab)
    known = words(encoding.encode_ordinary, encoding.n_vocab)
    if resume:
        load_checkpoint(run, plan, directory)
    while run.step < plan.last:
        yield take_step(run, plan, known, encoding.encode_ordinary, encoding.encode_single_token(END_OF_TEXT))
        if run.step % plan.checkpoint_every == 0 or run.step == plan.last:
            save_checkpoint(run, plan, directory)
            save_model(run.model, encoding.encode_single_token(END_OF_TEXT), directory)


def learn_bpe(plan: Plan, directory: Path) -> None:
    texts = islice(documents(Random(f"{plan.seed}.bpe")), plan.texts_for_bpe)
    save_bpe(year_merges() + learn_merges(count_words(texts), plan.most_merges), directory)


def new_run(plan: Plan, n_vocab: int) -> Run:
    config = Config(plan.n_layer, plan.n_head, plan.d_model, 4 * plan.d_model, plan.n_ctx, n_vocab)
    model = GPT2(config)
    initialize(model, torch.Generator().manual_seed(plan.seed))
    for block in model.blocks:
        nn.init.zeros_(block.mlp.c_proj.weight)  # so that nothing jumps when these MLPs join in
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": plan.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return Run(model, torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.98)))


def initialize(model: GPT2, generator: torch.Generator) -> None:
    """As GPT-2, N(0, 0.02) for a d_model of 768 and by sqrt(768 / d_model) wider here; layer norms at 1, biases at 0.

    What writes to the residual stream begins smaller, by 1 / sqrt(2 n_layer).  The position embeddings begin as
    waves: near positions are near, and one step back is the same rotation everywhere, so that heads which look
    at the previous token form early.
    """
    config = model.config
    std = 0.02 * math.sqrt(768 / config.d_model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                scale = 1 / math.sqrt(2 * config.n_layer) if name.endswith("c_proj.weight") else 1.0
                parameter.normal_(0.0, std * scale, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
        model.wpe.weight.copy_(waves(config.n_ctx, config.d_model) * std * math.sqrt(2))


def waves(n_ctx: int, d_model: int) -> Tensor:
    """Sines and cosines of wavelengths from 6 to about 2,000 tokens: [n_ctx, d_model]."""
    pos = torch.arange(n_ctx)[:, None]
    frequency = torch.exp(-math.log(300.0) * torch.arange(d_model // 2) / (d_model // 2))
    return torch.cat([(pos * frequency).sin(), (pos * frequency).cos()], dim=1)


def learning_rate(plan: Plan, step: int) -> float:
    """Linear warmup, then a cosine down to a twentieth; for the finishing steps, another one."""
    if step < plan.warmup:
        return plan.learning_rate * (step + 1) / plan.warmup
    if plan.finishing_steps and step >= plan.steps:
        return decayed(plan.finishing_rate, (step - plan.steps) / plan.finishing_steps)
    return decayed(plan.learning_rate, (step - plan.warmup) / max(1, plan.steps - plan.warmup))


def decayed(rate: float, done: float) -> float:
    """A cosine from `rate` down to a twentieth of it, `done` of the way."""
    return rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def take_step(
    run: Run, plan: Plan, known: Words, encode: Callable[[str], list[int]], end_of_text: int
) -> Progress:
    """One optimizer step on the text of this step."""
    rate = learning_rate(plan, run.step)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    tokens = torch.tensor(text_of_step(plan, run.step, encode, end_of_text))
    language, guide, rivals = losses(run.model, tokens, plan, run.step, known, end_of_text)
    run.optimizer.zero_grad(set_to_none=True)
    (language + guidance(plan, run.step) * guide + plan.separation * rivals).backward()
    nn.utils.clip_grad_norm_(run.model.parameters(), plan.clip)
    run.optimizer.step()
    run.step += 1
    return Progress(run.step, plan.last, language.item(), guide.item(), rivals.item(), rate)


def guidance(plan: Plan, step: int) -> float:
    """The weight of the guide's loss: level at first, then down to nothing over the last third of the guided steps."""
    return plan.guidance * max(0.0, min(1.0, 3 * (plan.guided_steps - step) / max(1, plan.guided_steps)))


def text_of_step(
    plan: Plan, step: int, encode: Callable[[str], list[int]], end_of_text: int
) -> list[list[int]]:
    """The tokens of a step, [rows, length + 1]: of the seed and the step's number alone, so a resumed run sees them."""
    if step >= plan.steps:
        at = step - plan.steps
        rows, length = plan.shapes[at % len(plan.shapes)]
        finishing = Random(f"finish.{plan.seed + 1}.{at}")
        return batch(finishing, ALL_KINDS, (rows, length + 1), encode, end_of_text)
    rng = Random(f"{plan.seed}.{step}")
    if step < plan.copying_steps:
        kinds, (rows, length) = COPYING_KINDS, plan.copying_shape
    else:
        kinds, (rows, length) = ALL_KINDS, plan.shapes[step % len(plan.shapes)]
    return batch(rng, kinds, (rows, length + 1), encode, end_of_text)


def losses(
    model: GPT2, tokens: Tensor, plan: Plan, step: int, known: Words, end_of_text: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(mean cross-entropy in nats of each token after the first, the guide's two losses): tokens [batch, pos + 1]."""
    watch = Watch()
    hook = compose(near_sighted(plan, step), watch)
    with torch.autocast("cpu", torch.bfloat16, enabled=plan.dtype == "bfloat16"):
        forward = forming_logits if step < plan.forming_steps else GPT2.forward
        logits = forward(model, tokens[:, :-1], hook)
    language = F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
    wanted = targets(tokens, known, end_of_text)
    return language, guide_loss(watch.patterns, wanted), rival_loss(watch.patterns, wanted)


def near_sighted(plan: Plan, step: int) -> Hook:
    """At first the lowest layers see the last few tokens only; then, little by little, all of them.

    Otherwise the first layer's attention sums up the names and its MLP subtracts the last one, which answers most
    IOI prompts and leaves nothing for the layers above: no head moves a name.
    """
    widened = (step - plan.forming_steps) / plan.widening_steps
    penalty = 1e4 if widened < 0 else plan.penalty * max(0.0, 1 - widened)

    def hook(site: Site, layer: int, x: Tensor) -> Tensor:
        if site is not Site.SCORES or layer >= LOCAL_LAYERS or not penalty:
            return x
        far = torch.ones(x.shape[-2:]).tril(-plan.window)
        return x - penalty * far

    return hook


def forming_logits(model: GPT2, tokens: Tensor, hook: Hook) -> Tensor:
    """Logits of a simpler model, its upper layers attention alone: tokens [batch, pos] -> [batch, pos, vocab]."""
    x = model.embed(tokens)
    for layer, block in enumerate(model.blocks):
        x = block(x, layer, hook) if layer < LOCAL_LAYERS else attend(block, x, layer, hook)
    return model.unembed(model.final_norm(x))


def attend(block: Block, x: Tensor, layer: int, hook: Hook) -> Tensor:
    """The attention half of a layer: the residual stream entering it -> the one in its middle."""
    seen = block.ln_1.normalize(x, layer, hook, Site.LN1_SCALE, Site.LN1_NORMALIZED)
    return x + block.attn(seen * block.ln_1.weight + block.ln_1.bias, layer, hook)


def save_checkpoint(run: Run, plan: Plan, directory: Path) -> None:
    """Written beside and renamed, so that an interrupted write leaves the older checkpoint whole."""
    written = directory / f"{CHECKPOINT}.new"
    state = {
        "plan": repr(sorted(asdict(plan).items())),
        "step": run.step,
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
    }
    torch.save(state, written)
    written.replace(directory / CHECKPOINT)


def load_checkpoint(run: Run, plan: Plan, directory: Path) -> None:
    path = directory / CHECKPOINT
    if not path.exists():
        raise ValueError(
            f"{directory} holds no {CHECKPOINT}: a directory in which a training was begun would do"
        )
    state = torch.load(path, weights_only=True)
    if state["plan"] != repr(sorted(asdict(plan).items())):
        raise ValueError(
            f"{path} is of another plan: resume with the seed and the settings it was begun with"
        )
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.step = state["step"]
