"""A quantized Keras model as a frozen graph, and its inference as integers."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from mobilequant import integer, layers
from mobilequant.layers.base import GRID_PRESERVING, QuantizedLayer
from mobilequant.layers.moving import MOVING, frozen_form
from mobilequant.quantize.graph import ModelGraph
from mobilequant.quantize.state import quantized_layers


def freeze(qmodel) -> integer.FrozenGraph:
    """Reads the integers, scales and zero points that a model infers with.

    The model stays as it is. The numbers come from the very functions that inference calls, so
    they are the same to the bit.

    Args:
        qmodel: What `quantize` returned, calibrated or trained.

    Raises:
        ValueError: The model is not quantized, not calibrated, switched off, holds NaN, or has a
            dimension of unknown size or a layer without a frozen form; the layers are named.
    """
    graph = ModelGraph(qmodel)
    target, recipe = _origin(qmodel, graph)
    _check(qmodel, graph)
    tensors, operators = {}, []
    inputs = []
    for call in graph.calls:
        feeds = [tensors.get(id(tensor)) for tensor in call.inputs]
        shapes = [tuple(tensor.shape) for tensor in call.outputs]
        _require_static(call, shapes)
        if isinstance(call.layer, layers.QuantizedInput):
            _, tensor = call.layer.freeze([], shapes[0])
            tensor.name = call.inputs[0]._keras_history.operation.name
            inputs.append((id(call.inputs[0]), tensor))
            new, output = [], tensor
        elif isinstance(call.layer, QuantizedLayer):
            new, output = call.layer.freeze(feeds, shapes[0])
        else:
            new, output = _freeze_stock(call, feeds[0], shapes[0])
        operators += new
        tensors[id(call.outputs[0])] = output
    order = {key: tensor for key, tensor in inputs}
    return integer.FrozenGraph(
        name=qmodel.name,
        target=target,
        recipe=recipe,
        inputs=[order[id(tensor)] for tensor in graph.inputs],
        outputs=[tensors[id(tensor)] for tensor in graph.outputs],
        operators=operators,
    )


def infer_integers(qmodel, batch) -> list[np.ndarray]:
    """Outputs of Keras' inference as int8 arrays, one an output, as the device gives them.

    Args:
        qmodel: A quantized model.
        batch: What the model takes: a float32 array, or a list or dict of them.
    """
    symbolic = keras.tree.flatten(qmodel.outputs)
    values = _run(qmodel, symbolic, batch)
    return [_to_integers(y, _output_grid(t)) for y, t in zip(values, symbolic, strict=True)]


def infer_tensors(qmodel, batch, names=None) -> dict[str, np.ndarray]:
    """Activation tensors of Keras' inference as int8 arrays, by the frozen graph's names.

    Args:
        qmodel: A quantized model.
        batch: What the model takes: a float32 array, or a list or dict of them.
        names: Names of the tensors wanted; all by default, which takes memory.
    """
    wanted, names, symbolic = names, [], []
    for call in ModelGraph(qmodel).calls:
        if isinstance(call.layer, layers.QuantizedInput):
            name = call.inputs[0]._keras_history.operation.name
        elif isinstance(call.layer, (QuantizedLayer, *MOVING)):
            name = call.name
        else:
            continue
        if wanted is None or name in wanted:
            names.append(name)
            symbolic.append(call.outputs[0])
    values = _run(qmodel, symbolic, batch)
    return {
        name: _to_integers(value, _output_grid(tensor))
        for name, value, tensor in zip(names, values, symbolic, strict=True)
    }


def _run(qmodel, symbolic, batch):
    """Values of symbolic tensors, computed eagerly.

    Tracing a function takes longer than many batches, and left at "auto" Keras would run it
    through XLA, which takes minutes to compile.
    """
    inputs = qmodel.inputs if len(qmodel.inputs) > 1 else qmodel.inputs[0]
    return keras.tree.flatten(keras.Model(inputs, symbolic)(batch, training=False))


def _origin(qmodel, graph):
    for call in graph.calls:
        if isinstance(call.layer, layers.QuantizedInput):
            return call.layer.target, call.layer.recipe
    raise ValueError(
        f"Model {qmodel.name!r} is not quantized; call mobilequant.quantize(model) first."
    )


def _check(qmodel, graph):
    uncalibrated, off, obstacles = [], [], {}
    for layer in quantized_layers(qmodel):
        obstacle = layer.obstacle()
        if obstacle:
            obstacles.setdefault(obstacle, []).append(layer.name)
            continue
        quantizer = layer.output_quantizer
        if not quantizer.calibrated:
            uncalibrated.append(layer.name)
        if int(ops.convert_to_numpy(quantizer.phase)) == 0:
            off.append(layer.name)
        for variable in layer.weights:
            if not np.all(np.isfinite(ops.convert_to_numpy(variable))):
                raise ValueError(
                    f"Layer {layer.name!r}: {variable.path!r} holds NaN or infinite values."
                )
    if obstacles:
        raise ValueError(
            f"Model {qmodel.name!r} trains and evaluates in Keras, but no device computes it. "
            "TFLite holds activations of 8 bits, affine, with one scale, and linear weights with "
            "one scale a tensor or a channel; but\n"
            + "".join(f"  {_some(names)}: {what}\n" for what, names in obstacles.items())
            + "For a .tflite file quantize it by a recipe with activations of 8 bits and linear "
            "weights, such as 'w8a8', 'w4a8', 'w2a8', 'ternary-a8' or 'w8a8-2:4'."
        )
    left = [
        call.name
        for call in graph.calls
        if not isinstance(call.layer, (QuantizedLayer, *GRID_PRESERVING))
    ]
    if left:
        raise ValueError(
            f"Model {qmodel.name!r} trains and evaluates in Keras, but has layers left in float: "
            f"{_some(left)}. Files are written with integers only: use layers that the device "
            "computes in integers and quantize without leave_float, or end the model before these, "
            "keras.Model(qmodel.input, …), and compute the rest in the app."
        )
    if uncalibrated:
        raise ValueError(
            f"Model {qmodel.name!r} has no ranges yet in {_some(uncalibrated)}: train it with fit, "
            "or set them from data with mobilequant.calibrate(qmodel, images)."
        )
    if off:
        raise ValueError(
            f"Model {qmodel.name!r} has quantization switched off in {_some(off)}: switch it on "
            "with mobilequant.set_phase(qmodel, 'quantized')."
        )


def _some(names):
    listed = ", ".join(repr(name) for name in names[:5])
    return listed if len(names) <= 5 else f"{listed} and {len(names) - 5} more layers"


def _require_static(call, shapes):
    for shape in shapes:
        if None in shape[1:]:
            raise ValueError(
                f"Layer {call.name!r} has an output of unknown size {shape}; build the model with "
                "a fixed input_shape: a file for a device has no dynamic sizes."
            )


def _freeze_stock(call, source, shape):
    """Stock layers that stay in a quantized model."""
    form = frozen_form(call.layer, source, shape[1:])
    if form is None:
        raise ValueError(f"Layer {call.name!r} ({type(call.layer).__name__}) has no frozen form.")
    return form


def _output_grid(tensor):
    source = layers.base.source_of(tensor)
    if source is None:
        name = tensor._keras_history.operation.name
        raise ValueError(f"Layer {name!r} gives floats (leave_float): there are no integers.")
    grid = source.output_quantizer.grid()
    return np.float32(ops.convert_to_numpy(grid.scale)), int(ops.convert_to_numpy(grid.zero_point))


def _to_integers(values, grid):
    scale, zero_point = grid
    q = np.round(np.asarray(values, "float32") / scale) + zero_point
    if not np.all(np.isfinite(q)):
        raise ValueError("Keras' inference gave NaN or infinite values; check the images.")
    return np.clip(q, -128, 127).astype(np.int8)
