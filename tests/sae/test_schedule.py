"""The learning rate and the penalty's weight, step by step."""

from pytest import approx

from sae.training.schedule import Schedule


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    schedule = Schedule(steps=100, learning_rate=1.0, warmup=10, decay=0.2)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[:10] == approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert set(rates[9:81]) == {1.0}
    assert rates[80:] == approx([1 - n / 20 for n in range(20)])


def test_the_penalty_rises_to_its_weight() -> None:
    schedule = Schedule(steps=100, penalty_warmup=0.05)
    assert [schedule.penalty(step) for step in range(6)] == approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_without_warm_up_and_decay_both_are_constant() -> None:
    schedule = Schedule(steps=10, learning_rate=0.5, warmup=0, decay=0.0, penalty_warmup=0.0)
    assert {schedule.rate(step) for step in range(10)} == {0.5}
    assert {schedule.penalty(step) for step in range(10)} == {1.0}
