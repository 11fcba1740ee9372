"""Reads ``.caffemodel`` files: the arrays of a Caffe network by layer.

Such a file is one protobuf message, Caffe's NetParameter. The schema below has only the fields that
hold arrays, so that nothing else of the file is decoded: not the layers' settings, which the file
need not have.
"""

import functools
from pathlib import Path

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from wae_jax.errors import UserError

_SIZE_LIMIT = 2**31 - 1  # protobuf's, of one message
_Field = descriptor_pb2.FieldDescriptorProto

# message -> fields (name, number, type, repeated). Packed floats are declared as bytes: on the wire
# they are the same, and numpy then reads them without a Python object for each.
_SCHEMA = {
    "NetParameter": (("old_layers", 2, "OldLayer", True), ("layers", 100, "Layer", True)),
    "Layer": (("name", 1, _Field.TYPE_BYTES, False), ("blobs", 7, "Blob", True)),
    # Before 2015, as the published VGG16.
    "OldLayer": (("name", 4, _Field.TYPE_BYTES, False), ("blobs", 6, "Blob", True)),
    "Blob": (
        ("num", 1, _Field.TYPE_INT32, False),
        ("channels", 2, _Field.TYPE_INT32, False),
        ("height", 3, _Field.TYPE_INT32, False),
        ("width", 4, _Field.TYPE_INT32, False),
        ("data", 5, _Field.TYPE_BYTES, True),
        ("shape", 7, "Shape", False),
        ("double_data", 8, _Field.TYPE_BYTES, True),
    ),
    "Shape": (("dim", 1, _Field.TYPE_INT64, True),),
}


@functools.cache
def _net_parameter_class() -> type[message.Message]:
    """The class of NetParameter, in a pool of its own so that no other schema can clash."""
    file = descriptor_pb2.FileDescriptorProto(name="caffemodel", package="caffe", syntax="proto2")
    for message_name, fields in _SCHEMA.items():
        descriptor = file.message_type.add(name=message_name)
        for name, number, kind, repeated in fields:
            field = descriptor.field.add(
                name=name,
                number=number,
                label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL,
            )
            if isinstance(kind, str):
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


def read_caffemodel(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a ``.caffemodel``, under pycaffe's names: ``"conv1[0]"`` is a layer's first.

    They are float32 in the file's shapes: conv kernels (out, in, h, w), FC kernels (out, in). Files
    from before 2015 have four axes for every array, the first of them 1 where fewer are needed.
    Takes about twice the file's size in memory.

    Raises:
        UserError: not such a file, cut short, above protobuf's 2 GiB, or inconsistent in itself.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > _SIZE_LIMIT:
            raise UserError(
                f"{path} has {size} bytes; protobuf, and so a .caffemodel, ends at {_SIZE_LIMIT}"
            )
        net = _net_parameter_class().FromString(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except message.DecodeError as error:
        raise UserError(f"{path} is not a .caffemodel, or is cut short: {error}") from error
    arrays: dict[str, np.ndarray] = {}
    for layer in (*net.layers, *net.old_layers):
        for i, blob in enumerate(layer.blobs):
            name = f"{layer.name.decode(errors='replace')}[{i}]"
            if name in arrays:
                raise UserError(f"{path} has {name} twice")
            arrays[name] = _array(blob, f"{name} in {path}")
    if not arrays:
        raise UserError(f"{path} is not a .caffemodel: no layer with arrays in it")
    return arrays


def _array(blob, name: str) -> np.ndarray:
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    else:
        shape = (blob.num, blob.channels, blob.height, blob.width)
    wide = bool(blob.double_data)
    data = b"".join(blob.double_data if wide else blob.data)
    dtype = np.dtype("<f8" if wide else "<f4")
    if any(n < 0 for n in shape) or len(data) != int(np.prod(shape, dtype=object)) * dtype.itemsize:
        raise UserError(f"{name} has {len(data)} bytes of numbers for shape {shape}")
    try:
        return np.frombuffer(data, dtype).astype(np.float32, copy=False).reshape(shape)
    except ValueError as error:  # too many axes, or one that is too long beside an empty one
        raise UserError(f"{name} has a shape that no array can have: {error}") from error
