"""The same classifier in PyTorch, made from a JAX classifier and its variables.

Plain functions of tensors in the channels_last memory format, so that one description serves the
inference form (no norms, no autograd) and the training form. PyTorch is optional and imported only
here, at first use.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from wae_jax.errors import UserError
from wae_jax.models.backbones import VGG, ResNet
from wae_jax.models.classifier import Classifier
from wae_jax.models.frontends import WAE, FoldedEncoder
from wae_jax.models.frontends.fixed import Downsample, Identity
from wae_jax.models.frontends.folded import untile_kernel
from wae_jax.models.frontends.wae import PaperDecoder, PaperEncoder
from wae_jax.models.heads import FCHead
from wae_jax.models.layers import BATCH_NORM_EPSILON
from wae_jax.models.resize import area_weights


def import_torch():
    """The module ``torch``.

    Raises:
        UserError: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError("--peer=torch needs PyTorch: pip install torch") from error
    return torch


def has_twin(model: Classifier) -> bool:
    """Whether :class:`TorchTwin` knows all of the model's parts."""
    branches = [model.backbone] + ([] if model.light is None else [model.light])
    return isinstance(model.frontend, Identity | Downsample | WAE | FoldedEncoder) and all(
        isinstance(branch, VGG | ResNet) for branch in branches
    )


def torch_layout(x) -> np.ndarray:
    """A float32 copy: kernels as (out, in, height, width) or (out, in), the rest as it is."""
    x = np.array(x, np.float32)
    if x.ndim == 4:
        x = x.transpose(3, 2, 0, 1)
    return np.ascontiguousarray(x.T if x.ndim == 2 else x)


def area_resize(x, size: tuple[int, int], as_tensor: Callable[[np.ndarray], Any]):
    """As :func:`wae_jax.models.resize.area_resize`, on (B, C, H, W); copies where it must."""
    batch, channels, height, width = x.shape
    rows, columns = (area_weights(*each) for each in ((height, size[0]), (width, size[1])))
    x = as_tensor(rows) @ x.reshape(batch, channels, -1, rows.shape[1], width)
    x = x.reshape(batch, channels, size[0], -1, columns.shape[1]) @ as_tensor(columns.T.copy())
    return x.reshape(batch, channels, *size)


class TorchTwin:
    """Callable: uint8 RGB tensor (B, S, S, 3) -> scores (B, num_classes), float32.

    variables: the JAX model's; copied. trained: batch norms use batch statistics, and the
    parameters ask for gradients. Dropout is left out. Calling it takes a WAE in its inference form;
    :meth:`outputs` takes either.
    """

    def __init__(self, model: Classifier, variables, *, trained: bool = False):
        self.torch = import_torch()
        self.model, self.trained = model, trained
        self.params = self._tensors(self._plain(model, variables["params"]))
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

    @staticmethod
    def _plain(model: Classifier, params):
        """The parameters, a folded encoder's as those of an ordinary strided conv."""
        encoder = model.frontend
        if not isinstance(encoder, FoldedEncoder) or encoder.tile == 1:
            return params
        conv = params["frontend"]["to_both"]
        kernel = untile_kernel(
            np.asarray(conv["kernel"]), encoder.kernel, 2**encoder.levels, encoder.tile
        )
        plain = {"kernel": kernel, "bias": conv["bias"][: kernel.shape[-1]]}
        return {**params, "frontend": {"to_both": plain}}

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
        low, high = self._split(x)
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

    def decode(self, low, high):
        """The image (B, 3, H, W) that a WAE in its training form rebuilds."""
        frontend = self.model.frontend
        images = [
            self._decode(getattr(frontend, f"decoder_{part}"), x, f"decoder_{part}")
            for part, x in (("low", low), ("high", high))
        ]
        return images[0] + images[1]

    def _decode(self, decoder, x, name: str):
        functional, params = self.torch.nn.functional, self.params["frontend"][name]
        block, relu = 2**decoder.levels, decoder.activation == "relu"
        if isinstance(decoder, PaperDecoder):
            deconv = params["deconv"]
            # flax's kernel slides as in a conv; PyTorch's is the transpose of one.
            weight = deconv["kernel"].transpose(0, 1).flip(2, 3)
            before = -(-(3 * block - 2) // 2)
            x = functional.conv_transpose2d(
                x, weight, deconv["bias"], block, padding=2 * block - 1 - before
            )
            x = self.torch.relu(x) if relu else x
        for layer in ("conv1", "conv2"):
            x = self._conv(x, params[layer], padding=1)
            x = self.torch.relu(x) if relu else x
        x = self._conv(x, params["to_image"], padding=1)
        if isinstance(decoder, PaperDecoder):
            return x
        b, c, h, w = x.shape
        x = x.permute(0, 2, 3, 1).reshape(b, h, w, block, block, c // block**2)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(b, h * block, w * block, -1)
        return x.permute(0, 3, 1, 2)

    def _conv(self, x, params, *, stride: int = 1, padding: int = 0):
        return self.torch.nn.functional.conv2d(
            x, params["kernel"], params.get("bias"), stride, padding
        )

    def _conv_norm(self, module, x, params, stats, name: str, *, stride: int = 1, padding: int = 0):
        """A conv of ``module`` and, where the parameters have one, the norm that belongs to it."""
        x = self._conv(x, params[name], stride=stride, padding=padding)
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

    def _split(self, x):
        """Normalised images -> low and high (None for the baselines), NCHW."""
        frontend, functional = self.model.frontend, self.torch.nn.functional
        if isinstance(frontend, Identity):
            return x, None
        if isinstance(frontend, Downsample):
            return self._downsample(frontend, x), None
        encoder = frontend if isinstance(frontend, FoldedEncoder) else frontend.encoder
        block = 2**encoder.levels
        x = functional.pad(x, (0, -x.shape[3] % block, 0, -x.shape[2] % block), mode="replicate")
        zero_padded = isinstance(encoder, PaperEncoder) and encoder.padding == "zero"
        if not zero_padded:
            x = functional.pad(x, (encoder.reach,) * 4, mode="reflect")
        x = x.contiguous(memory_format=self.torch.channels_last)
        both = self._encode(x, encoder, block, pad=int(zero_padded))
        return both[:, :3], both[:, 3:]

    def _downsample(self, frontend: Downsample, x):
        size = frontend.output_size(*x.shape[2:])
        if frontend.size and x.shape[2:] != (2 * size[0], 2 * size[1]):
            x = area_resize(x, size, self.torch.from_numpy)
            return x.contiguous(memory_format=self.torch.channels_last)
        for _ in range(1 if frontend.size else frontend.levels):
            x = self._halve(x)
        return x

    def _halve(self, x):
        return self.torch.nn.functional.avg_pool2d(x, 2, ceil_mode=True)

    def _encode(self, x, encoder, block: int, *, pad: int):
        if isinstance(encoder, FoldedEncoder):
            return self._conv(x, self.params["frontend"]["to_both"], stride=block)
        params, relu = self.params["frontend"]["encoder"], encoder.activation == "relu"
        stride = block
        if not isinstance(encoder, PaperEncoder):
            x, stride = self._space_to_depth(x, block), 1
        for i in range(encoder.depth):
            x = self._conv(x, params[f"conv{i + 1}"], padding=pad)
            x = self.torch.relu(x) if relu else x
        outputs = ("to_both",) if "to_both" in params else ("to_low", "to_high")
        return self.torch.cat(
            [
                self._conv(x, params[name], stride=stride, padding=pad * (block - 1))
                for name in outputs
            ],
            1,
        )

    def _space_to_depth(self, x, block: int):
        """As :func:`wae_jax.models.layers.space_to_depth`, on NCHW in channels_last memory."""
        b, c, h, w = x.shape
        x = x.permute(0, 2, 3, 1).reshape(b, h // block, block, w // block, block, c)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(b, h // block, w // block, block * block * c)
        return x.permute(0, 3, 1, 2)

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
                x, is_stem = self._halve(x), False
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
            x = self._halve(x)
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
