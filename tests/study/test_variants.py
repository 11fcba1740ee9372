"""Names of variants, what they are made of, and their settings."""

import pytest

from wae_jax.config import Settings
from wae_jax.errors import UserError
from wae_jax.study import variants
from wae_jax.study.variants import made_of, method_of, split, with_steps


@pytest.mark.parametrize(
    "variant, parts",
    [
        ("wae-fast", ("wae-fast", [], False, False)),
        ("lowres+distill", ("lowres", [], True, False)),
        ("full+thinet-0.5+int8", ("full", ["thinet-0.5"], False, True)),
        ("a+taylor-2x+cp-2x+distill+int8", ("a", ["taylor-2x", "cp-2x"], True, True)),
    ],
)
def test_parts_of_a_name(variant, parts):
    assert split(variant) == parts


@pytest.mark.parametrize(
    "variant, before",
    [
        ("full", None),
        ("lowres+distill", None),
        ("full+taylor-2x", "full"),
        ("full+taylor-2x+distill", "full"),  # the teacher itself has none
        ("lowres+taylor-2x+distill", "lowres+distill"),
        ("lowres+taylor-2x+cp-2x", "lowres+taylor-2x"),
        ("lowres+taylor-2x+distill+int8", "lowres+taylor-2x+distill"),
        ("full+int8", "full"),
    ],
)
def test_what_a_variant_is_made_of(variant, before):
    assert made_of(variant, "full") == before


@pytest.mark.parametrize(
    "step, known",
    [("cp-3.4x", ("cp", 3.4)), ("thinet-0.5", ("thinet-0.5", None)), ("tucker", ("tucker", None))],
)
def test_a_step_is_a_method_and_its_budget(step, known):
    assert method_of(step) == known


def test_the_last_step_is_what_is_asked_for():
    settings = Settings()
    asked = with_steps(settings, "full+thinet-0.5+tucker-4x+distill").compress
    assert (asked.method, asked.macs, asked.int8) == ("tucker", 0.25, False)
    asked = with_steps(settings, "full+tucker+int8").compress
    assert (asked.method, asked.macs, asked.int8) == ("tucker", 0.0, True)


def test_networks_as_they_are_know_nothing_of_compression():
    """Keys for the others do not make their runs other runs."""
    settings = Settings()
    keys = variants.changed(settings, {"compress.epochs": 2.0, "compress.images": 9})
    assert with_steps(keys, "wae") == settings
    assert with_steps(keys, "wae+cp-2x").compress.epochs == 2.0


@pytest.mark.parametrize("step", ["taylor-0.5x", "taylor-0x"])
def test_budgets_below_the_whole_are_none(step):
    with pytest.raises(UserError, match=f"no step '{step}'"):
        with_steps(Settings(), f"full+{step}")
