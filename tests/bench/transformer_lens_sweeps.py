"""TransformerLens's own loops, run by its own Python: `PYTHON transformer_lens_sweeps.py MODEL_DIRECTORY THREADS`.

Reads one JSON request a line and answers each with seconds and what was found.  Knows nothing of this project.
"""

import json
import sys
import time
from importlib import import_module
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

MARY, JOHN = 5335, 1757
PATCHED = {"residual": "resid_pre"}


def difference(logits: Tensor) -> Tensor:
    """The last token's logits, Mary's minus John's."""
    return logits[0, -1, MARY] - logits[0, -1, JOHN]


def heads(bridge: Any, tokens: Tensor) -> list[float]:
    """Each head's `hook_z` set to zero, one hooked run a head: as its documentation does it."""
    found: list[float] = []
    for layer in range(bridge.cfg.n_layers):
        for head in range(bridge.cfg.n_heads):

            def zero(z: Tensor, hook: Any, head: int = head) -> Tensor:
                z[:, :, head] = 0.0
                return z

            hooks = [(f"blocks.{layer}.attn.hook_z", zero)]
            found.append(float(difference(bridge.run_with_hooks(tokens, fwd_hooks=hooks))))
    return found


def patched(bridge: Any, tokens: Tensor, cache: Any, name: str) -> list[float]:
    """One of its `patching` module's sweeps, values taken from another prompt's run."""
    sweep = getattr(import_module("transformer_lens.patching"), f"get_act_patch_{PATCHED.get(name, name)}")
    return sweep(bridge, tokens, cache, difference).flatten().tolist()


@torch.no_grad()
def main(directory: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    bridges, transformers = import_module("transformer_lens.model_bridge"), import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    bridge = bridges.TransformerBridge.boot_transformers(directory, tokenizer=tokenizer, dtype=torch.float32)
    bridge.enable_compatibility_mode(no_processing=True)
    print(json.dumps({"version": version("transformer_lens")}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        tokens, *others = (torch.tensor([prompt]) for prompt in asked["prompts"])
        runs = [bridge.run_with_cache(other)[1] for other in others]
        wall, cpu = time.perf_counter(), time.process_time()
        name = asked["sweep"]
        values = heads(bridge, tokens) if name == "heads" else patched(bridge, tokens, runs[0], name)
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps({**took, "values": values}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
