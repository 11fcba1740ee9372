import jax.numpy as jnp
import numpy as np
import pytest

from wae_jax.evaluation import metrics
from wae_jax.models.frontends import SubImages
from wae_jax.models.outputs import Outputs
from wae_jax.training import losses

rng = np.random.default_rng(3)


def random(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def test_caffe_reduction_is_half_the_sum_per_image():
    x = random(5, 4, 6, 3)
    np.testing.assert_allclose(losses.squared_norm(x, "caffe"), (x**2).sum() / 10, rtol=1e-6)


def test_mean_reduction_is_the_mean_over_pixels_and_channels():
    x = random(5, 4, 6, 3)
    np.testing.assert_allclose(losses.squared_norm(x, "mean"), (x**2).mean(), rtol=1e-6)


def test_the_two_reductions_differ_by_half_the_image():
    x = random(2, 224, 224, 3)
    ratio = losses.squared_norm(x, "caffe") / losses.squared_norm(x, "mean")
    np.testing.assert_allclose(ratio, 75_264, rtol=1e-5)


def test_unknown_reduction_is_an_error():
    with pytest.raises(ValueError, match="sum"):
        losses.squared_norm(random(1, 2, 2, 3), "sum")


def test_reconstruction_and_energy_are_squared_norms():
    image, other = random(3, 4, 4, 3), random(3, 4, 4, 3)
    np.testing.assert_allclose(
        losses.reconstruction_loss(image, other, "caffe"),
        ((image - other) ** 2).sum() / 6,
        rtol=1e-6,
    )
    np.testing.assert_allclose(losses.energy_loss(other, "mean"), (other**2).mean(), rtol=1e-6)


def test_squared_norm_is_summed_in_float32():
    x = jnp.full((1, 64, 64, 3), 0.1, jnp.bfloat16)
    value = losses.squared_norm(x, "caffe")
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, 64 * 64 * 3 * float(x[0, 0, 0, 0]) ** 2 / 2, rtol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_by_hand(smoothing):
    scores, labels = random(4, 7), np.array([0, 6, 3, 3])
    log_p = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    target = np.eye(7)[labels] * (1 - smoothing) + smoothing / 7
    np.testing.assert_allclose(
        losses.cross_entropy(scores, labels, smoothing), -(target * log_p).sum(-1).mean(), rtol=1e-5
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_mixed_labels_is_the_mix_of_both(smoothing):
    scores, labels, others = random(4, 7), np.array([0, 6, 3, 3]), np.array([1, 1, 3, 0])
    weights = np.array([1.0, 0.7, 0.5, 0.9], np.float32)
    expected = [
        w * losses.cross_entropy(scores[i : i + 1], labels[i : i + 1], smoothing)
        + (1 - w) * losses.cross_entropy(scores[i : i + 1], others[i : i + 1], smoothing)
        for i, w in enumerate(weights)
    ]
    np.testing.assert_allclose(
        losses.cross_entropy(scores, labels, smoothing, others, weights),
        np.mean(expected),
        rtol=1e-5,
    )


NAN = np.nan


@pytest.mark.parametrize(
    "scores, label, rank",
    [
        ([3, 2, 1, 0], 0, 0),
        ([3, 2, 1, 0], 3, 3),
        ([1, 1, 0, 0], 0, 1),  # a tie is not a win
        ([5, 5, 5, 5], 2, 3),  # nor is knowing nothing
        ([NAN, 2, 1, 0], 0, 3),
        ([3, NAN, 1, 0], 0, 1),
        ([NAN, NAN, NAN, NAN], 1, 3),
        ([np.inf, 0, 0, 0], 0, 0),
        ([-np.inf, 0, 0, 0], 0, 3),
    ],
)
def test_rank_of_label(scores, label, rank):
    found = metrics.rank_of_label(jnp.array([scores], jnp.float32), jnp.array([label]))
    assert found.tolist() == [rank]


def identity(x):
    return x


def sums_of(outputs, labels=None, mask=None, denormalise=identity):
    count = next(len(x) for x in (outputs.scores, outputs.images) if x is not None)
    batch = {
        "label": np.zeros(count, np.int32) if labels is None else np.asarray(labels),
        "mask": np.ones(count, np.float32) if mask is None else np.asarray(mask, np.float32),
    }
    sums = metrics.image_sums(outputs, batch, denormalise)
    return {k: np.asarray(v, np.float64) for k, v in sums.items()}


def figures_of(*args, **kwargs):
    return metrics.summarise(sums_of(*args, **kwargs))


def test_top1_and_top5_against_sorting():
    scores, labels = random(200, 12), rng.integers(0, 12, 200)
    order = np.argsort(-scores, axis=-1)
    figures = figures_of(Outputs(scores=scores, low_scores=scores), labels)
    assert figures["top1"] == pytest.approx((order[:, 0] == labels).mean())
    assert figures["top5"] == pytest.approx((order[:, :5] == labels[:, None]).any(-1).mean())
    assert figures["eval_count"] == 200


def test_nan_and_constant_scores_are_wrong():
    scores = np.stack([np.full(10, NAN), np.zeros(10), np.arange(10)]).astype(np.float32)
    figures = figures_of(Outputs(scores=scores, low_scores=scores), [9, 9, 9])
    assert figures["top1"] == figures["top5"] == pytest.approx(1 / 3)


def test_branch_scores_are_told_apart():
    low, fused = np.eye(6, dtype=np.float32)[[0, 1]], np.eye(6, dtype=np.float32)[[2, 1]]
    figures = figures_of(
        Outputs(scores=low + 3 * fused, low_scores=low, fused_scores=fused), [0, 1]
    )
    assert (figures["top1"], figures["top1_low"], figures["top1_fused"]) == (0.5, 1.0, 0.5)


def test_what_dropping_i_h_costs_is_taken_off_top1():
    """Over the images for which it was computed: the first batch of two."""
    right, wrong = np.eye(6, dtype=np.float32)[[0, 0]], np.eye(6, dtype=np.float32)[[0, 1]]
    outputs = Outputs(scores=right, low_scores=right, scores_without_high=wrong)
    assert figures_of(outputs, [0, 0])["top1_without_high"] == 0.5
    assert figures_of(outputs, [0, 0], mask=[1, 0])["top1_without_high"] == 1.0
    assert figures_of(outputs, [1, 1])["top1_without_high"] == 0.5  # dropping it may help
    both = sums_of(outputs, [0, 0]), sums_of(outputs.replace(scores_without_high=None), [1, 0])
    figures = metrics.summarise({k: both[0][k] + both[1].get(k, 0.0) for k in both[0]})
    assert (figures["top1"], figures["top1_without_high"]) == (0.75, 0.25)


def test_parts_that_do_not_exist_are_none():
    scores = random(3, 6)
    figures = figures_of(
        Outputs(scores=scores, low_scores=scores, sub_images=SubImages(random(3, 2, 2, 3)))
    )
    assert tuple(figures) == metrics.METRIC_NAMES
    assert [name for name, value in figures.items() if value is None] == [
        "top1_low",
        "top1_fused",
        "top1_without_high",
        "psnr",
        "high_energy",
        "low_correlation",
    ]


def test_psnr_by_hand():
    images = rng.integers(0, 256, (4, 5, 5, 3)).astype(np.float32)
    rebuilt = images + 20 * random(4, 5, 5, 3)
    mse = ((images - np.clip(rebuilt, 0, 255)) ** 2).mean((1, 2, 3))
    figures = figures_of(Outputs(images=images, reconstruction=rebuilt))
    assert figures["psnr"] == pytest.approx((10 * np.log10(255**2 / mse)).mean(), rel=1e-5)


def test_psnr_is_of_pixels_not_of_normalised_units():
    images, rebuilt = random(2, 4, 4, 3), random(2, 4, 4, 3)

    def denormalise(x):
        return 50 * x + 100

    mse = ((denormalise(images) - np.clip(denormalise(rebuilt), 0, 255)) ** 2).mean((1, 2, 3))
    figures = figures_of(Outputs(images=images, reconstruction=rebuilt), denormalise=denormalise)
    assert figures["psnr"] == pytest.approx((10 * np.log10(255**2 / mse)).mean(), rel=1e-5)


def test_psnr_of_a_perfect_reconstruction_is_finite():
    images = np.full((1, 4, 4, 3), 7, np.float32)
    psnr = figures_of(Outputs(images=images, reconstruction=images))["psnr"]
    assert 100 < psnr < np.inf


def test_high_energy_is_the_ratio_of_total_energies():
    low, high = random(3, 4, 4, 3), 0.1 * random(3, 4, 4, 9)
    figures = figures_of(Outputs(images=low, sub_images=SubImages(low, high)))
    assert figures["high_energy"] == pytest.approx((high**2).sum() / (low**2).sum(), rel=1e-5)


def all_outputs(count):
    low, fused = random(count, 8), random(count, 8)
    images = rng.integers(0, 256, (count, 4, 4, 3)).astype(np.float32)
    return Outputs(
        scores=low + fused,
        low_scores=low,
        fused_scores=fused,
        scores_without_high=low,
        sub_images=SubImages(random(count, 2, 2, 3), random(count, 2, 2, 3)),
        images=images,
        reconstruction=images + 9 * random(count, 4, 4, 3),
    )


SPOILT = ("scores", "low_scores", "fused_scores", "scores_without_high", "reconstruction")


def take(outputs, rows):
    sub = outputs.sub_images
    parts = {name: getattr(outputs, name)[rows] for name in (*SPOILT, "images")}
    return Outputs(sub_images=SubImages(sub.low[rows], sub.high[rows]), **parts)


def test_masked_images_do_not_count():
    outputs, labels = all_outputs(6), rng.integers(0, 8, 6)
    rows = np.array([0, 2, 3])
    mask = np.isin(np.arange(6), rows)
    # What is masked may even be no number.
    spoilt = {
        name: np.where(
            mask.reshape(-1, *[1] * (getattr(outputs, name).ndim - 1)), getattr(outputs, name), NAN
        )
        for name in SPOILT
    }
    found = sums_of(outputs.replace(**spoilt), labels, mask)
    expected = sums_of(take(outputs, rows), labels[rows])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)
    assert found["count"] == 3


def test_unequal_batches_add_up_to_the_whole():
    outputs, labels = all_outputs(11), rng.integers(0, 8, 11)
    totals = {}
    for rows in (slice(0, 7), slice(7, 8), slice(8, 11)):
        for name, value in sums_of(take(outputs, rows), labels[rows]).items():
            totals[name] = totals.get(name, 0.0) + value
    assert metrics.summarise(totals) == pytest.approx(figures_of(outputs, labels), rel=1e-5)
