"""Training a dictionary: steps of ours against a plain reference loop in autograd, and against the floor of its products.

python tests/bench/bench_training.py [--device cuda] [--threads N] [--rounds N] [--latents N]

The floor is what a step cannot do without: one product for the encoder, every latent of every row.  The loop is the
one that a reader of the paper would write: dense latents, `backward()`, Adam, and the same loss.
"""

import argparse

import torch
from torch.nn import functional as F

from model.sites import Site, Where
from sae.training.learner import new_learner
from sae.training.loop import take_step
from sae.training.plan import Plan, Target
from sae.training.rules import TopK
from sae.training.schedule import Schedule
from sae.training.world import Alone
from tests.bench.measuring import Row, Work, here, in_turn, over, table

PLACE: Where = (Site.MLP_OUT, 0)
D, K = 768, 32


def ours(x: torch.Tensor, latents: int) -> Work:
    """One step on a batch that is there already."""
    plan = Plan(TopK(K), Schedule(10**6), latents, batch=len(x), shards=1)
    batch = {PLACE: x}
    learner = new_learner(Target(PLACE, PLACE), plan, batch)
    return here(lambda: take_step(learner, plan, [batch], Alone(), 0))


def plain(x: torch.Tensor, latents: int) -> Work:
    """The same by the book."""
    w_enc = torch.randn(D, latents, device=x.device).requires_grad_()
    w_dec = F.normalize(torch.randn(latents, D, device=x.device), dim=1).requires_grad_()
    b_enc, b_dec = (torch.zeros(n, device=x.device).requires_grad_() for n in (latents, D))
    adam = torch.optim.Adam([w_enc, b_enc, w_dec, b_dec], lr=3e-4)

    def step() -> float:
        pre = (x - b_dec) @ w_enc + b_enc
        values, at = pre.topk(K, dim=-1)
        recon = torch.zeros_like(pre).scatter(-1, at, values.relu()) @ w_dec + b_dec
        loss = (recon - x).square().sum(-1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            w_dec.copy_(F.normalize(w_dec, dim=1))
        return float(loss.detach())

    return here(step)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="torch's own number if left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latents", type=int, default=6144)
    parser.add_argument("--batch", type=int, default=1024)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    x = torch.randn(args.batch, D, device=args.device)
    weight = torch.randn(D, args.latents, device=args.device)
    works = {
        "ours": ours(x, args.latents),
        "plain": plain(x, args.latents),
        "floor": here(lambda: x @ weight),
    }
    took = in_turn(works, args.rounds)
    rows = [
        Row("a step of ours", took["ours"]),
        Row("a step of the plain loop; ours / it", took["plain"], over(took["ours"], took["plain"])),
        Row("the encoder's product; ours / it", took["floor"], over(took["ours"], took["floor"])),
    ]
    title = f"training, {args.batch} activations of {D}, {args.latents} latents, TopK {K}, {args.device}"
    print(table(title, rows))


if __name__ == "__main__":
    main()
