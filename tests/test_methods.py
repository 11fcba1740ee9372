import pytest

from wae_jax.config import default_config, settings_from_config
from wae_jax.errors import UserError
from wae_jax.methods import set_method
from wae_jax.models.backbones import build_backbone
from wae_jax.models.classifier import build_model


def test_low_resolution_of_any_size(tiny_config):
    config = set_method(tiny_config(), "lowres-11")
    frontend = config.model.frontend
    assert (frontend.name, frontend.size, config.run_stages) == ("downsample", 11, ("end_to_end",))
    settings = settings_from_config(config)
    model = build_model(settings.model, num_classes=2, image_size=16)
    assert model.frontend.output_size(16, 16) == (11, 11)


@pytest.mark.parametrize("method", ["lowres-0", "lowres-16", "lowres-", "lowres-8.5", "lowres-x"])
def test_other_sizes_are_refused(method, tiny_config):
    with pytest.raises(
        ValueError, match=rf"no variant '{method}'.*; there are.*lowres-SIZE .* 16 pixels"
    ):
        set_method(tiny_config(), method)


def test_an_image_made_smaller_afterwards_is_refused(tiny_config):
    settings = settings_from_config(set_method(tiny_config(), "lowres-11"))
    with pytest.raises(UserError, match=r"frontend\.size is 11; .* smaller .* 10 pixels"):
        build_model(settings.model, num_classes=2, image_size=10)


def test_stem_is_the_full_network_with_its_features_halved():
    full, stem = (settings_from_config(set_method(default_config(), m)) for m in ("full", "stem"))
    assert stem.model.frontend == full.model.frontend
    assert build_backbone(stem.model.backbone) == build_backbone(full.model.backbone).clone(
        halve_after_stem=True
    )


def test_a_users_own_backbone_has_no_stem(tiny_config):
    config = set_method(tiny_config({"model.backbone.name": "flax.linen:Conv"}), "stem")
    with pytest.raises(UserError, match=r"halve_after_stem knows no stem of 'flax\.linen:Conv'"):
        build_backbone(settings_from_config(config).model.backbone)
