"""Keras' inference of a quantized model as the integers that a device computes."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from mobilequant import layers
from mobilequant.layers.base import QuantizedLayer, source_of
from mobilequant.layers.moving import MOVING
from mobilequant.layers.selecting import ArgMax
from mobilequant.quantize.graph import ModelGraph
from mobilequant.quantize.regions import Inference, Region, float_names, steps


def infer_integers(qmodel, batch) -> list[np.ndarray]:
    """Outputs of Keras' inference as int8 arrays, one an output, as the device gives them.

    What a layer that was left in float gives comes as the float32 array that it is, what an
    `ArgMax` gives as int32.

    Args:
        qmodel: A quantized model.
        batch: What the model takes: a float32 array, or a list or dict of them.
    """
    symbolic = keras.tree.flatten(qmodel.outputs)
    values = _run(qmodel, symbolic, batch)
    return [_as_on_device(y, _output_grid(t)) for y, t in zip(values, symbolic, strict=True)]


def infer_tensors(qmodel, batch, names=None, *, instead=None) -> dict[str, np.ndarray]:
    """Activation tensors of Keras' inference as int8 arrays, by the frozen graph's names.

    What layers that were left in float give comes as float32 arrays.

    Args:
        qmodel: A quantized model.
        batch: What the model takes: a float32 array, or a list or dict of them.
        names: Names of the tensors wanted; all by default, which takes memory.
        instead: int8 arrays by name with which the layers behind go on instead of what Keras
            computed for these tensors; the result still has what Keras computed. `batch` must be
            an array or a list then.
    """
    graph = ModelGraph(qmodel)
    symbolic = _named_tensors(graph)
    if names is not None:
        symbolic = {name: symbolic[name] for name in names if name in symbolic}
    grids = {name: _output_grid(tensor) for name, tensor in symbolic.items()}
    if instead:
        known = _named_tensors(graph)
        given = {
            id(known[name]): _as_real(integers, _output_grid(known[name]))
            for name, integers in instead.items()
        }
        run = Inference(graph.calls, graph.inputs, list(symbolic.values()), given)
        values = run([ops.convert_to_tensor(array) for array in keras.tree.flatten(batch)])
    else:
        values = _run(qmodel, list(symbolic.values()), batch)
    return {
        name: _as_on_device(value, grids[name])
        for name, value in zip(symbolic, values, strict=True)
    }


def _run(qmodel, symbolic, batch):
    """Values of symbolic tensors, computed eagerly.

    Tracing a function takes longer than many batches, and left at "auto" Keras would run it
    through XLA, which takes minutes to compile.
    """
    inputs = qmodel.inputs if len(qmodel.inputs) > 1 else qmodel.inputs[0]
    return keras.tree.flatten(keras.Model(inputs, symbolic)(batch, training=False))


def _named_tensors(graph):
    """The symbolic tensors that the frozen graph has, by its names."""
    found = {}
    for step in steps(graph):
        if isinstance(step, Region):
            names = float_names(graph)
            found |= {names[id(tensor)]: tensor for tensor in step.outputs}
        elif isinstance(step.layer, layers.QuantizedInput):
            found[step.inputs[0]._keras_history.operation.name] = step.outputs[0]
        elif isinstance(step.layer, (QuantizedLayer, *MOVING, ArgMax)):
            found[step.name] = step.outputs[0]
    return found


def _output_grid(tensor):
    """(scale, zero point) of a symbolic tensor, None where it is float."""
    source = source_of(tensor)
    if source is None:
        return None
    grid = source.output_quantizer.grid()
    return np.float32(ops.convert_to_numpy(grid.scale)), int(ops.convert_to_numpy(grid.zero_point))


def _as_on_device(values, grid):
    if keras.backend.standardize_dtype(values.dtype) == "int32":
        return np.asarray(values)
    values = np.asarray(values, "float32")
    if not np.all(np.isfinite(values)):
        raise ValueError("Keras' inference gave NaN or infinite values; check the images.")
    if grid is None:
        return values
    scale, zero_point = grid
    return np.clip(np.round(values / scale) + zero_point, -128, 127).astype(np.int8)


def _as_real(integers, grid):
    """int8 integers as the real values that flow between Keras' layers."""
    scale, zero_point = grid
    return ops.convert_to_tensor((integers.astype(np.float32) - np.float32(zero_point)) * scale)
