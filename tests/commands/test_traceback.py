"""A user's own module that raises: one line, or where it happened."""

import flax.linen as nn
import pytest

from wae_jax.commands.flags import start
from wae_jax.config import Settings
from wae_jax.errors import UserError
from wae_jax.models.classifier import build_model
from wae_jax.schema.trees import changed


class Broken(nn.Module):
    """Fails as a mistake of its author's would."""

    width: float = 1.0

    @nn.compact
    def __call__(self, x):
        return {"features": x}["feature"]


def build():
    name = f"{__name__}:Broken"
    settings = changed(Settings().model, {"backbone.name": name, "head.kind": "pool"})
    build_model(settings, num_classes=10, image_size=32)


def test_its_exception_is_kept_as_the_cause():
    with pytest.raises(UserError, match=r"32 x 32: KeyError in test_traceback:Broken: 'feature'"):
        build()
    try:
        build()
    except UserError as error:
        assert isinstance(error.__cause__, KeyError)


@pytest.mark.parametrize("wanted", [False, True])
def test_the_traceback_is_shown_where_it_is_wanted(wanted, monkeypatch, capsys):
    monkeypatch.setenv("WAE_JAX_TRACEBACK", "1" if wanted else "0")
    with pytest.raises(SystemExit) as stop:
        start(build)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ") and "KeyError" in lines[-1]
    assert (len(lines) > 1) == wanted
    assert any('{"features": x}["feature"]' in line for line in lines) == wanted
