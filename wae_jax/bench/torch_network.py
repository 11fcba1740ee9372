"""The same classifier in PyTorch, made from a JAX classifier and its variables.

Plain functions of tensors in the channels_last memory format, so that one description serves the
inference form (no norms, no autograd) and the training form.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from wae_jax.bench.torch_frontend import KNOWN, plain_params, split
from wae_jax.bench.torch_layers import conv, halve, import_torch, torch_layout
from wae_jax.models.backbones import VGG, ResNet
from wae_jax.models.classifier import Classifier
from wae_jax.models.heads import FCHead
from wae_jax.models.layers import BATCH_NORM_EPSILON


def has_twin(model: Classifier) -> bool:
    """Whether :class:`TorchTwin` knows all of the model's parts."""
    branches = [model.backbone] + ([] if model.light is None else [model.light])
    return isinstance(model.frontend, KNOWN) and all(
        isinstance(branch, VGG | ResNet) and not branch.ranks for branch in branches
    )


class TorchTwin:
    """Callable: uint8 RGB tensor (B, S, S, 3) -> scores (B, num_classes), float32.

    variables: the JAX model's; copied. trained: batch norms use batch statistics, and the
    parameters ask for gradients. Dropout is left out. Calling it takes a WAE in its inference form;
    :meth:`outputs` takes either.
    """

    def __init__(self, model: Classifier, variables, *, trained: bool = False):
        self.torch = import_torch()
        self.model, self.trained = model, trained
        self.params = self._tensors(plain_params(model.frontend, variables["params"]))
        self.stats = self._tensors(variables["batch_stats"])
        if trained:
            for leaf in self.leaves():
                leaf.requires_grad_()
        scale = 1.0 / np.asarray(model.std, np.float32)
        self.scale, self.shift = self._tensors(
            [x[:, None, None] for x in (scale, -np.asarray(model.mean, np.float32) * scale)]
        )

    def leaves(self) -> list[Any]:
        """All parameters."""
        return jax.tree.leaves(self.params)

    def _tensors(self, tree):
        """Copies of JAX's arrays; kernels are in the memory format of their inputs."""

        def convert(x):
            x = self.torch.from_numpy(torch_layout(x))
            return x.contiguous(memory_format=self.torch.channels_last) if x.ndim == 4 else x

        return jax.tree.map(convert, tree)

    def __call__(self, images):
        return self.outputs(images)[0]

    def outputs(self, images):
        """(scores, normalised images, low, high): both sub-images as the front end makes them."""
        x = images.permute(0, 3, 1, 2)  # NHWC in memory is channels_last
        if self.model.channel_order == "BGR":
            x = x.flip(1)
        x = x.float() * self.scale + self.shift
        low, high = split(self.model.frontend, self.params.get("frontend", {}), x)
        scores = self._scores(self._normalised("low", low), self._normalised("high", high))
        return scores, x, low, high

    def _normalised(self, part: str, x):
        stats = self.stats.get("frontend", {}).get(f"norm_{part}")
        if stats is None:
            return x
        return self.torch.nn.functional.batch_norm(
            x,
            stats["mean"],
            stats["var"],
            training=self.trained,
            momentum=0.1,
            eps=BATCH_NORM_EPSILON,
        )

    def _scores(self, low, high):
        if self.model.fusion == "early":
            low, high = self.torch.cat([low, high], 1), None
        low = self._branch("backbone", low)
        scores = self._head("head_low", [low])
        if high is None:
            return scores
        return scores + self._head("head_fused", [low, self._branch("light", high)])

    def _conv_norm(self, module, x, params, stats, name: str, *, stride: int = 1, padding: int = 0):
        """A conv of ``module`` and, where the parameters have one, the norm that belongs to it."""
        x = conv(x, params[name], stride=stride, padding=padding)
        norm = name.replace("conv", "norm")
        if norm not in params:
            return x
        return self.torch.nn.functional.batch_norm(
            x,
            stats[norm]["mean"],
            stats[norm]["var"],
            params[norm]["scale"],
            params[norm]["bias"],
            training=self.trained,
            momentum=0.1,
            eps=module.norm_epsilon,
        )

    def _branch(self, name: str, x):
        module = getattr(self.model, name)
        run = self._vgg if isinstance(module, VGG) else self._resnet
        return run(module, x, self.params[name], self.stats.get(name, {}))

    def _vgg(self, module: VGG, x, params, stats):
        block, index, is_stem = 1, 0, module.halve_after_stem
        for item in module.plan.split():
            if item == "M":
                x = self.torch.nn.functional.max_pool2d(x, 2, ceil_mode=module.round_up)
                block, index = block + 1, 0
                continue
            index += 1
            x = self._conv_norm(module, x, params, stats, f"conv{block}_{index}", padding=1)
            x = self.torch.relu_(x)
            if is_stem:
                x, is_stem = halve(x), False
        return x

    def _resnet(self, module: ResNet, x, params, stats):
        large = module.stem == "imagenet"
        x = self.torch.relu_(
            self._conv_norm(
                module, x, params, stats, "stem_conv", stride=1 + large, padding=3 if large else 1
            )
        )
        if large:
            ceil = module.stem_pool == "ceil"
            x = self.torch.nn.functional.max_pool2d(x, 3, 2, 0 if ceil else 1, ceil_mode=ceil)
        if module.halve_after_stem:
            x = halve(x)
        for stage, count in enumerate(module.blocks):
            for i in range(count):
                name = f"stage{stage + 1}_block{i + 1}"
                x = self._block(
                    module, x, params[name], stats.get(name, {}), stride=2 if stage and not i else 1
                )
        return x

    def _block(self, module: ResNet, x, params, stats, *, stride: int):
        # (padding, stride) of each conv.
        first, second = (stride, 1) if module.stride_on == "1x1" else (1, stride)
        basic = module.kind == "basic"
        plan = ((1, stride), (1, 1)) if basic else ((0, first), (1, second), (0, 1))
        y = x
        for i, (padding, step) in enumerate(plan, start=1):
            y = self._conv_norm(module, y, params, stats, f"conv{i}", stride=step, padding=padding)
            if i < len(plan):
                y = self.torch.relu_(y)
        if "shortcut_conv" in params:
            x = self._conv_norm(module, x, params, stats, "shortcut_conv", stride=stride)
        return self.torch.relu_(x + y)

    def _head(self, name: str, features: Sequence[Any]):
        head, params = getattr(self.model, name), self.params[name]
        linear = self.torch.nn.functional.linear
        if isinstance(head, FCHead):
            # The JAX heads flatten (h, w, C); of a channels_last tensor that is a view.
            x = self.torch.cat([f.permute(0, 2, 3, 1).flatten(1) for f in features], 1)
            for i in range(len(head.hidden)):
                layer = params[f"fc{i + 1}"]
                x = self.torch.relu_(linear(x, layer["kernel"], layer["bias"]))
        else:
            x = self.torch.cat([f.mean((2, 3)) for f in features], 1)
        return linear(x, params["scores"]["kernel"], params["scores"]["bias"])
