"""Everything that a training depends on beside the activations, as one frozen value."""

from dataclasses import dataclass

from model.edits.sources import Where
from sae.reading import place_text
from sae.training.rules import Rule
from sae.training.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Target:
    """What one dictionary is trained on: activations to read, and activations to put out."""

    reads: Where
    writes: Where

    @property
    def name(self) -> str:
        """`mlp_out.3`; of a transcoder, `ln2_normalized.3-mlp_out.3`."""
        if self.reads == self.writes:
            return place_text(self.writes)
        return f"{place_text(self.reads)}-{place_text(self.writes)}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Raises ValueError, one sentence, where the numbers can't be."""

    rule: Rule
    schedule: Schedule
    n_latent: int
    batch: int = 4096
    """Activations of a step, over all shards and processes."""
    shards: int = 4
    """The parts that a batch is computed in, a power of two; processes share them evenly."""
    seed: int = 0
    aux_k: int = 0
    """How many dead latents help to reconstruct what the others leave over; 0: none (Gao et al. 2024)."""
    aux_weight: float = 1 / 32
    dead_after: int = 200_000
    """Activations without being active after which a latent counts as dead."""
    resample_every: int = 0
    """Steps after which dead latents are begun again where reconstruction is bad; 0: never (Bricken et al. 2023)."""
    resample_until: float = 0.6
    """The share of the steps in which that is done: what is begun again needs time to settle."""
    clip: float = 1.0
    """The norm that gradients of one dictionary are cut down to."""
    half: bool = False
    """Whether matrix products are in bfloat16; weights and sums stay in float32."""

    def __post_init__(self) -> None:
        for name in ("n_latent", "batch", "shards", "dead_after"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: at least 1 was expected")
        if self.batch % self.shards:
            raise ValueError(f"a batch of {self.batch} is not a multiple of its {self.shards} shards")
        k = getattr(self.rule, "k", 1)
        if not 0 < k <= self.n_latent:
            raise ValueError(f"k is {k}: from 1 to the {self.n_latent} latents was expected")

    @property
    def share(self) -> int:
        """Activations of one shard of a step."""
        return self.batch // self.shards

    def resamples(self, step: int) -> bool:
        """Whether dead latents are begun again after step 0, 1, ..."""
        until = self.resample_until * self.schedule.steps
        return bool(self.resample_every) and (step + 1) % self.resample_every == 0 and step + 1 <= until
