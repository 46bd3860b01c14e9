"""Reads TFLite files that may come from anywhere: a sound model, or an error that says why not.

Parsing has three steps, each of which relies on the one before: the file's frame (size,
identifier); the flatbuffer's structure (every table, vector and string lies inside the file, by
`_structure`); the model's sense (every index names something that exists, constants have the
size that their shape says). LiteRT checks little of this and can end the process on a broken
file, so no other module hands it a file that did not come through here.
"""

from __future__ import annotations

import math
import os
import stat
import struct
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_tools import _structure
from tflite_tools.errors import InvalidModelError

_IDENTIFIER = b"TFL3"
_HEADER = 8  # offset of the root table, identifier

#: What no kernel takes and no machine holds; beyond, sums of sizes would need unbounded numbers.
_MOST_DIMENSIONS = 64
_MOST_BYTES = 2**48

#: Bits of one element; strings, resources and variants have no fixed size.
_BITS = {
    schema.TensorType.FLOAT32: 32,
    schema.TensorType.FLOAT16: 16,
    schema.TensorType.BFLOAT16: 16,
    schema.TensorType.FLOAT64: 64,
    schema.TensorType.INT2: 2,
    schema.TensorType.INT4: 4,
    schema.TensorType.INT8: 8,
    schema.TensorType.INT16: 16,
    schema.TensorType.INT32: 32,
    schema.TensorType.INT64: 64,
    schema.TensorType.UINT4: 4,
    schema.TensorType.UINT8: 8,
    schema.TensorType.UINT16: 16,
    schema.TensorType.UINT32: 32,
    schema.TensorType.UINT64: 64,
    schema.TensorType.BOOL: 8,
    schema.TensorType.COMPLEX64: 64,
    schema.TensorType.COMPLEX128: 128,
}


def _names(enumeration) -> dict[int, str]:
    return {
        number: name
        for name, number in vars(enumeration).items()
        if not name.startswith("_") and isinstance(number, int)
    }


#: Names of tensor types and of builtin operators, by their numbers in the schema.
TENSOR_TYPES = _names(schema.TensorType)
OPERATORS = _names(schema.BuiltinOperator)


def read(path: str | os.PathLike) -> schema.ModelT:
    """Reads a `.tflite` file.

    Args:
        path: The file.

    Returns:
        The model as the schema's object API has it.

    Raises:
        InvalidModelError: There is no such file, it cannot be read, or it is no sound TFLite
            model.
    """
    return parse(read_bytes(path), path)


def read_bytes(path: str | os.PathLike) -> bytes:
    """The content of a file, of which more than its first bytes is read where these are TFLite's.

    Raises:
        InvalidModelError: There is no such file, it cannot be read, it is no TFLite file or it
            does not fit in memory.
    """
    try:
        return _content(Path(path))
    except InvalidModelError as error:
        raise InvalidModelError(f"{path}: {error}") from None
    except MemoryError:
        size = os.path.getsize(path)
        raise InvalidModelError(f"{path}: its {size:,} bytes do not fit in memory.") from None
    except FileNotFoundError:
        raise InvalidModelError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise InvalidModelError(f"{path}: is a directory, not a TFLite file.") from None
    except OSError as error:
        raise InvalidModelError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InvalidModelError(f"{path!r}: is no path: {error}.") from error


def parse(data: bytes, name: str | os.PathLike = "model") -> schema.ModelT:
    """Parses the content of a `.tflite` file; see `read`.

    Args:
        data: The content.
        name: What error messages call it.

    Returns:
        The model as the schema's object API has it. What a file beyond 2 GB holds behind the
        flatbuffer is in it as well, as if it lay inside. Inputs, outputs, tensors and operators
        that are left out (an operator that only sets a variable has no outputs) are empty.

    Raises:
        InvalidModelError: It is no sound TFLite model.
    """
    try:
        _check_frame(data)
        _structure.check(data)
        # The structure is sound, so this can fail in the operators' options only.
        model = schema.ModelT.InitFromPackedBuf(data)
        _read_in(model, data)
        _check_model(model)
        _fill_in(model)
    except InvalidModelError as error:
        raise InvalidModelError(f"{name}: {error}") from None
    except MemoryError as error:
        raise InvalidModelError(f"{name}: parsing it takes more memory than there is.") from error
    except (struct.error, ValueError, TypeError, IndexError, OverflowError) as error:
        raise InvalidModelError(f"{name}: a broken flatbuffer ({error}).") from error
    return model


def operator_name(model: schema.ModelT, op: schema.OperatorT) -> str:
    """Name of an operator: TFLite's builtin name, or a custom operator's own."""
    code = model.operatorCodes[op.opcodeIndex]
    number = builtin_code(code)
    if number == schema.BuiltinOperator.CUSTOM:
        return text(code.customCode) or "CUSTOM"
    return OPERATORS[number]


def is_custom(model: schema.ModelT, op: schema.OperatorT) -> bool:
    """Whether an operator is none of TFLite's builtin ones."""
    return builtin_code(model.operatorCodes[op.opcodeIndex]) == schema.BuiltinOperator.CUSTOM


def builtin_code(code: schema.OperatorCodeT) -> int:
    """Number of an operator, from the field that the file's age decides."""
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def text(value: bytes | None) -> str:
    """A string of the schema as text."""
    return "" if value is None else value.decode("utf-8", "replace")


def constant_bytes(model: schema.ModelT, tensor: schema.TensorT) -> int:
    """Size of a tensor's constant, 0 where it has none.

    One that lies in another file counts by its shape.
    """
    if tensor.externalBuffer:
        return tensor_bytes(tensor)
    return _length(model.buffers[tensor.buffer].data)


def elements(tensor: schema.TensorT) -> int:
    """Number of elements; unknown dimensions count as 1."""
    return math.prod(abs(int(n)) for n in _items(tensor.shape))


def tensor_bytes(tensor: schema.TensorT) -> int:
    """Bytes of all elements, packed; 0 for strings and other types without a fixed size."""
    return -(-elements(tensor) * _BITS.get(tensor.type, 0) // 8)


def minimum_runtime(model: schema.ModelT) -> str | None:
    """First TFLite release that runs a model, as its metadata says; None where it does not."""
    for entry in _items(model.metadata):
        if text(entry.name) == "min_runtime_version":
            data = model.buffers[entry.buffer].data
            return bytes(_items(data)).split(b"\0")[0].decode("ascii", "replace") or None
    return None


def _content(path: Path) -> bytes:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # to read a pipe or a device may not end
        raise InvalidModelError("is a device or a pipe, not a TFLite file.")
    with path.open("rb") as file:
        _check_frame(file.read(_HEADER))
        file.seek(0)
        return file.read()


def _check_frame(data: bytes) -> None:
    if not data:
        raise InvalidModelError("the file is empty.")
    if len(data) < _HEADER or data[4:8] != _IDENTIFIER:
        raise InvalidModelError("not a TFLite file (it does not carry the identifier TFL3).")


def _read_in(model: schema.ModelT, data: bytes) -> None:
    """Moves what lies behind the flatbuffer (files beyond 2 GB have it there) into the model."""
    for i, buffer in enumerate(_items(model.buffers)):
        if buffer.offset > 1:  # 0 and 1 mean that this one does not lie there
            buffer.data = _behind(data, buffer.offset, buffer.size, f"buffer {i}")
            buffer.offset = buffer.size = 0
    for subgraph in _items(model.subgraphs):
        for i, op in enumerate(_items(subgraph.operators)):
            start, size = op.largeCustomOptionsOffset, op.largeCustomOptionsSize
            if start > 1:
                op.customOptions = _behind(data, start, size, f"operator {i}'s data")
                op.largeCustomOptionsOffset = op.largeCustomOptionsSize = 0


def _behind(data: bytes, start: int, size: int, what: str) -> np.ndarray:
    _require(start + size <= len(data), f"{what} ends behind the end of the file")
    return np.frombuffer(data, np.uint8, size, start)


def _fill_in(model: schema.ModelT) -> None:
    """Puts empty lists where a file leaves them out, so that no reader needs to care."""
    for subgraph in model.subgraphs:
        for field in ("tensors", "operators"):
            setattr(subgraph, field, list(_items(getattr(subgraph, field))))
        for holder in (subgraph, *subgraph.operators):
            for field in ("inputs", "outputs"):
                if getattr(holder, field) is None:
                    setattr(holder, field, np.zeros(0, np.int32))


def _check_model(model: schema.ModelT) -> None:
    for field in ("operatorCodes", "subgraphs", "buffers"):
        _require(getattr(model, field) is not None, f"it has no {field}")
    _require(len(model.subgraphs) > 0, "it has no subgraph")
    for i, code in enumerate(model.operatorCodes):
        _require(builtin_code(code) in OPERATORS, f"operator code {i} is unknown to the schema")
    for i, subgraph in enumerate(model.subgraphs):
        _check_subgraph(model, subgraph, f"subgraph {i}")
    for entry in _items(model.metadata):
        inside = 0 <= entry.buffer < len(model.buffers)
        _require(inside, f"metadata {text(entry.name)!r} names a buffer that does not exist")
    for signature in _items(model.signatureDefs):
        _check_signature(model, signature)


def _check_subgraph(model: schema.ModelT, subgraph: schema.SubGraphT, where: str) -> None:
    tensors = _items(subgraph.tensors)
    for i, tensor in enumerate(tensors):
        _check_tensor(model, tensor, f"tensor {i} of {where}")
    for field in ("inputs", "outputs"):
        _check_indices(getattr(subgraph, field), tensors, f"{field} of {where}")
    for i, op in enumerate(_items(subgraph.operators)):
        at = f"operator {i} of {where}"
        known = 0 <= op.opcodeIndex < len(model.operatorCodes)
        _require(known, f"{at} has an operator code that does not exist")
        # −1 stands for an optional input that is left out.
        _check_indices(op.inputs, tensors, f"inputs of {at}", smallest=-1)
        _check_indices(op.outputs, tensors, f"outputs of {at}")
        _check_indices(op.intermediates, tensors, f"intermediates of {at}")


def _check_tensor(model: schema.ModelT, tensor: schema.TensorT, where: str) -> None:
    _require(tensor.type in TENSOR_TYPES, f"{where} has an unknown type")
    _require(0 <= tensor.buffer < len(model.buffers), f"{where} has a buffer that does not exist")
    dimensions = _length(tensor.shape)
    _require(dimensions <= _MOST_DIMENSIONS, f"{where} has {dimensions} dimensions")
    shape = [int(n) for n in _items(tensor.shape)]
    fits = all(n >= -1 for n in shape) and elements(tensor) <= _MOST_BYTES
    _require(fits and tensor_bytes(tensor) <= _MOST_BYTES, f"{where} has the shape {shape}")
    stored = constant_bytes(model, tensor)
    if stored and tensor.type in _BITS and tensor.sparsity is None:
        needed = tensor_bytes(tensor)
        _require(
            stored == needed,
            f"{where} has {stored} bytes where its shape {shape} needs {needed}",
        )
    if tensor.quantization is not None:
        _check_quantization(tensor.quantization, shape, where)


def _check_quantization(quantization, shape: list[int], where: str) -> None:
    scales, zero_points = _length(quantization.scale), _length(quantization.zeroPoint)
    if not scales:
        return
    finite = bool(np.all(np.isfinite(quantization.scale)))
    _require(finite, f"{where} has a scale that is no finite number")
    _require(zero_points in (0, scales), f"{where} has {scales} scales, {zero_points} zero points")
    if scales > 1:
        dimension = quantization.quantizedDimension
        fits = 0 <= dimension < len(shape) and shape[dimension] == scales
        _require(fits, f"{where} has {scales} scales along dimension {dimension} of {shape}")


def _check_signature(model: schema.ModelT, signature: schema.SignatureDefT) -> None:
    where = f"signature {text(signature.signatureKey)!r}"
    known = 0 <= signature.subgraphIndex < len(model.subgraphs)
    _require(known, f"{where} names a subgraph that does not exist")
    tensors = _items(model.subgraphs[signature.subgraphIndex].tensors)
    for entry in [*_items(signature.inputs), *_items(signature.outputs)]:
        inside = 0 <= entry.tensorIndex < len(tensors)
        _require(inside, f"{where} names a tensor that does not exist")


def _check_indices(indices, tensors, where: str, smallest: int = 0) -> None:
    indices = np.asarray(_items(indices), np.int64)
    inside = np.all((indices >= smallest) & (indices < len(tensors)))
    _require(bool(inside), f"{where} name a tensor that does not exist")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise InvalidModelError(f"a broken model: {what}.")


def _items(vector):
    return () if vector is None else vector


def _length(vector) -> int:
    return 0 if vector is None else len(vector)
