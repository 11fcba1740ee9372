"""A budget in milliseconds, on times that are made up, and on one that is measured."""

import pytest

from wae_jax.compress import by_time
from wae_jax.errors import UserError


class Sized:
    """A network of which only the fraction of MACs is known."""

    def __init__(self, fraction):
        self.fraction = fraction


@pytest.fixture
def take(monkeypatch):
    """Function that says how long networks take, as a function of their fraction of MACs."""

    def say(ms):
        monkeypatch.setattr(by_time, "milliseconds", lambda network: ms(network.fraction))

    return say


@pytest.mark.parametrize("overhead", [0.0, 2.0, 5.0])
def test_the_time_is_used_and_kept(overhead, take):
    take(lambda fraction: overhead + (10 - overhead) * fraction)
    found = by_time.within(Sized, Sized(1.0), 6.0)
    assert 0.9 * 6.0 < overhead + (10 - overhead) * found.fraction <= 6.0


def test_a_network_that_is_fast_enough_stays_as_it_is(take):
    take(lambda fraction: 10 * fraction)
    network = Sized(1.0)
    assert by_time.within(Sized, network, 10.0) is network


def test_what_a_method_cannot_do_is_passed_over(take):
    def run(fraction):
        if fraction < 0.7:
            raise UserError("too small")
        return Sized(fraction)

    take(lambda fraction: 4 + 6 * fraction)
    assert by_time.within(run, Sized(1.0), 9.0).fraction >= 0.7
    with pytest.raises(UserError, match="takes 6 ms: it takes 10 ms as it is, 8"):
        by_time.within(run, Sized(1.0), 6.0)


@pytest.mark.nightly
@pytest.mark.parametrize("runtime", ["onnxruntime", "jax"])
def test_networks_are_timed(runtime, make, monkeypatch):
    monkeypatch.setattr(by_time, "_SECONDS", 0.1)
    monkeypatch.setattr(by_time, "runtime_here", lambda: runtime)
    assert 0.001 < by_time.milliseconds(make("vgg")) < 1000
