"""Writes Caffe networks for the tests: the text of their layers and a .caffemodel of random arrays.

The files are encoded by hand, byte by byte, so that neither the reader under test nor its schema
has a part in them. OpenCV reads both files with Caffe's own schema.
"""

import zlib
from pathlib import Path

import numpy as np

Arrays = dict[str, list[np.ndarray]]  # layer -> its arrays


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _blob(array: np.ndarray, *, old: bool) -> bytes:
    double = array.dtype == np.float64
    data = _field(8 if double else 5, array.astype("<f8" if double else "<f4").tobytes())
    if old:
        sizes = (1,) * (4 - array.ndim) + array.shape
        return b"".join(_varint(i << 3) + _varint(n) for i, n in enumerate(sizes, 1)) + data
    return data + _field(7, _field(1, b"".join(_varint(n) for n in array.shape)))


def write_caffemodel(path: Path, arrays: Arrays, *, old: bool = False) -> Path:
    """old: as Caffe wrote them before 2015, other field numbers and four axes everywhere."""
    name_field, blobs_field, layer_field = (4, 6, 2) if old else (1, 7, 100)
    with path.open("wb") as file:
        file.write(_field(1, b"a test's network"))
        for name, blobs in arrays.items():
            file.write(
                _field(
                    layer_field,
                    _field(name_field, name.encode())
                    + b"".join(_field(blobs_field, _blob(blob, old=old)) for blob in blobs),
                )
            )
    return path


class CaffeNet:
    """A Caffe network in the making: every method appends a layer and returns its output's name.

    text: the prototxt. shapes: of each layer's arrays.
    """

    def __init__(self, size: int):
        self.text = f'input: "data" input_dim: 1 input_dim: 3 input_dim: {size} input_dim: {size}\n'
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def layer(self, name: str, kind: str, bottoms, settings: str = "", shapes=()) -> str:
        bottoms = [bottoms] if isinstance(bottoms, str) else bottoms
        inputs = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        self.text += (
            f'layer {{ name: "{name}" type: "{kind}" {inputs} top: "{name}" {settings} }}\n'
        )
        if shapes:
            self.shapes[name] = list(shapes)
        return name

    def conv(self, name, bottom, channels_in, channels, size, *, stride=1, bias=True) -> str:
        self.layer(
            name,
            "Convolution",
            bottom,
            f"convolution_param {{ num_output: {channels} kernel_size: {size} "
            f"pad: {size // 2} stride: {stride} bias_term: {str(bias).lower()} }}",
            [(channels, channels_in, size, size), (channels,)][: 1 + bias],
        )
        return name

    def relu(self, bottom) -> str:
        return self.layer(f"{bottom}_relu", "ReLU", bottom)

    def pool(self, name, bottom, size) -> str:
        return self.layer(
            name, "Pooling", bottom, f"pooling_param {{ pool: MAX kernel_size: {size} stride: 2 }}"
        )

    def fc(self, name, bottom, inputs, outputs) -> str:
        return self.layer(
            name,
            "InnerProduct",
            bottom,
            f"inner_product_param {{ num_output: {outputs} }}",
            [(outputs, inputs), (outputs,)],
        )

    def batch_norm(self, name, bottom, channels) -> str:
        return self.layer(
            name,
            "BatchNorm",
            bottom,
            "batch_norm_param { use_global_stats: true }",
            [(channels,), (channels,), (1,)],
        )

    def random_arrays(self) -> Arrays:
        """Each layer's from its name: signals neither vanish nor grow through the network."""
        arrays = {}
        for name, shapes in self.shapes.items():
            rng = np.random.default_rng(zlib.crc32(name.encode()))
            if shapes == [shapes[0], shapes[0], (1,)]:  # batch norm: sums over 2.5 batches
                arrays[name] = [
                    rng.normal(0, 2, shapes[0]),
                    rng.uniform(1, 9, shapes[0]),
                    np.array([2.5]),
                ]
            elif len(shapes[0]) == 1:
                arrays[name] = [rng.uniform(0.5, 1, shapes[0]), rng.normal(0, 0.5, shapes[1])]
            else:
                weight = rng.standard_normal(shapes[0], np.float32)
                weight *= np.float32(np.sqrt(2 / weight[0].size))
                arrays[name] = [weight, *(rng.normal(0, 0.5, shape) for shape in shapes[1:])]
            arrays[name] = [array.astype(np.float32) for array in arrays[name]]
        return arrays


VGG16 = "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M"


def _vgg16_trunk(net: CaffeNet, bottom: str, suffix: str, divisor: int) -> str:
    channels, block, index = 3, 1, 1
    for item in VGG16.split():
        if item == "M":
            bottom = net.pool(f"pool{block}{suffix}", bottom, 2)
            block, index = block + 1, 1
            continue
        name = f"conv{block}_{index}{suffix}"
        bottom = net.relu(net.conv(name, bottom, channels, int(item) // divisor, 3))
        channels, index = int(item) // divisor, index + 1
    return bottom


def _fc_layers(net: CaffeNet, bottom: str, suffix: str, inputs: int, hidden: int) -> str:
    for i in (6, 7):
        bottom = net.relu(net.fc(f"fc{i}{suffix}", bottom, inputs, hidden))
        inputs = hidden
    return net.fc(f"fc8{suffix}", bottom, inputs, 1000)


def released_wae() -> CaffeNet:
    """The authors' test network, 224 pixels."""
    net = CaffeNet(224)
    x, channels = "data", 3
    for i in (1, 2, 3):
        x = net.relu(net.conv(f"decom_conv{i}", x, channels, 16, 3))
        channels = 16
    features = []
    for suffix, divisor in (("_CA", 1), ("_CH", 4)):
        sub_image = net.conv(f"decom_conv{suffix}", x, 16, 3, 3, stride=2)
        sub_image = net.batch_norm(f"bn{suffix}", sub_image, 3)
        features.append(_vgg16_trunk(net, sub_image, suffix, divisor))
    low = _fc_layers(net, features[0], "_CA", 4 * 4 * 512, 1024)
    both = net.layer("concat", "Concat", features)
    fused = _fc_layers(net, both, "_fusion", 4 * 4 * 640, 2048)
    net.layer("sum", "Eltwise", [low, fused], "eltwise_param { operation: SUM }")
    return net


def vgg16(size: int) -> CaffeNet:
    """The VGG team's network."""
    net = CaffeNet(size)
    features = _vgg16_trunk(net, "data", "", 1)
    _fc_layers(net, features, "", (-(-size // 32)) ** 2 * 512, 4096)
    return net


def resnet50(size: int) -> CaffeNet:
    """He's network of 2015: the stride on the first 1x1 conv, a bias in the first conv only."""
    net = CaffeNet(size)

    def scaled_conv(name, norm, bottom, channels_in, channels, size, stride=1):
        x = net.conv(name, bottom, channels_in, channels, size, stride=stride, bias=name == "conv1")
        x = net.batch_norm(f"bn{norm}", x, channels)
        return net.layer(
            f"scale{norm}",
            "Scale",
            x,
            "scale_param { bias_term: true }",
            [(channels,), (channels,)],
        )

    x = net.relu(scaled_conv("conv1", "_conv1", "data", 3, 64, 7, 2))
    x, channels = net.pool("pool1", x, 3), 64
    for stage, blocks in enumerate(("abc", "abcd", "abcdef", "abc"), 2):
        filters = 64 * 2 ** (stage - 2)
        for block in blocks:
            name, stride = f"{stage}{block}_branch", 2 if stage > 2 and block == "a" else 1
            shortcut, y = x, x
            if block == "a":
                shortcut = scaled_conv(
                    f"res{name}1", f"{name}1", x, channels, 4 * filters, 1, stride
                )
            y = net.relu(scaled_conv(f"res{name}2a", f"{name}2a", y, channels, filters, 1, stride))
            y = net.relu(scaled_conv(f"res{name}2b", f"{name}2b", y, filters, filters, 3))
            y = scaled_conv(f"res{name}2c", f"{name}2c", y, filters, 4 * filters, 1)
            x = net.relu(net.layer(f"res{stage}{block}", "Eltwise", [shortcut, y]))
            channels = 4 * filters
    x = net.layer("pool5", "Pooling", x, "pooling_param { pool: AVE global_pooling: true }")
    net.fc("fc1000", x, 2048, 1000)
    return net
