"""wae-jax summary, in process."""

import pytest

# ml_collections loads config files so; only Python's next versions mind.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:the load_module\(\) method is deprecated:DeprecationWarning"
)


def test_of_a_config(config_file, succeed):
    out = succeed("summary", f"--config={config_file}:wae-fast", "--depth=1", "--num_classes=7")
    assert "| frontend " in out and "encoder" not in out
    assert "training form: " in out and "times as many" in out
    wider = succeed(
        "summary", f"--config={config_file}:wae-fast", "--config.model.backbone.width=2"
    )
    assert "encoder" in wider


def test_of_a_checkpoint(imported, succeed):
    out = succeed("summary", f"--checkpoint={imported}", "--depth=2")
    assert "stage4_block2" in out and ", 1.00 times as many" in out


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], ["--config", "--checkpoint"]),
        (["--checkpoint=/nowhere"], ["/nowhere"]),
        (["--config=/nowhere.py"], ["/nowhere.py"]),
        (["--checkpoint=a", "--depth=0"], ["depth"]),
    ],
)
def test_mistakes(arguments, words, refuse):
    refuse(words, "summary", *arguments)
