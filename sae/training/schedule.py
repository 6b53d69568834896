"""What changes from step to step: the learning rate and the weight of the sparsity penalty."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Linear warm-up, a level stretch, and a linear decay to nothing over the last part."""

    steps: int
    learning_rate: float = 3e-4
    warmup: int = 100
    """Steps until the learning rate is reached."""
    decay: float = 0.2
    """The share of the steps, at the end, over which the rate falls to nothing."""
    penalty_warmup: float = 0.05
    """The share of the steps, at the start, over which the sparsity penalty rises to its weight: fewer latents die."""

    def rate(self, step: int) -> float:
        """The learning rate of step 0, 1, ..."""
        rising = (step + 1) / self.warmup if step < self.warmup else 1.0
        falling = (self.steps - step) / (self.decay * self.steps) if self.decay else 1.0
        return self.learning_rate * min(1.0, rising, falling)

    def penalty(self, step: int) -> float:
        """What sparsity penalties are multiplied by at a step: from near 0 to 1."""
        rising = self.penalty_warmup * self.steps
        return min(1.0, (step + 1) / rising) if rising else 1.0
