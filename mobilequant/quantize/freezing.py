"""A quantized Keras model as a frozen graph."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from mobilequant import integer, layers
from mobilequant.layers.base import QuantizedLayer
from mobilequant.layers.entry import QuantizedEntry
from mobilequant.layers.moving import frozen_form
from mobilequant.quantize.graph import ModelGraph
from mobilequant.quantize.regions import Inference, Region, float_names, is_float, steps
from mobilequant.quantize.state import quantized_layers


def freeze(qmodel, *, allow_float=False) -> integer.FrozenGraph:
    """Reads the integers, scales and zero points that a model infers with.

    The model stays as it is. The numbers come from the very functions that inference calls, so
    they are the same to the bit.

    Args:
        qmodel: What `quantize` returned, calibrated or trained.
        allow_float: Whether layers that were left in float (`leave_float`) may be in it; they
            become `integer.FloatBlock`s.

    Raises:
        ValueError: The model is not quantized, not calibrated, switched off, holds NaN, or has a
            dimension of unknown size or a layer without a frozen form; the layers are named.
    """
    graph = ModelGraph(qmodel)
    target, recipe = _origin(qmodel, graph)
    _check(qmodel, graph, allow_float)
    freezing = _Freezing(graph)
    for step in steps(graph):
        if isinstance(step, Region):
            freezing.add_region(step)
        else:
            freezing.add_call(step)
    return integer.FrozenGraph(
        name=qmodel.name,
        target=target,
        recipe=recipe,
        inputs=[freezing.input(tensor) for tensor in graph.inputs],
        outputs=[freezing.tensors[id(tensor)] for tensor in graph.outputs],
        operators=freezing.operators,
    )


class _Freezing:
    """A frozen graph in the making.

    Attributes:
        operators: So far.
        tensors: The frozen tensors by the ids of Keras' symbolic ones.
    """

    def __init__(self, graph):
        self.operators, self.tensors = [], {}
        self._graph, self._names = graph, float_names(graph)
        self._inputs, self._floats = {}, {}

    def input(self, symbolic):
        """The frozen form of a model's input."""
        if id(symbolic) not in self._inputs:
            raise ValueError(
                f"Input {symbolic._keras_history.operation.name!r} is not quantized: a layer takes "
                "it as it is. Quantize the whole model with mobilequant.quantize."
            )
        return self._inputs[id(symbolic)]

    def add_call(self, call):
        """A call that computes on integers."""
        shape = _static_shapes(call)[0]
        layer = call.layer
        if isinstance(layer, layers.QuantizedInput):
            _, output = layer.freeze([], shape)
            output.name = call.inputs[0]._keras_history.operation.name
            self._inputs[id(call.inputs[0])] = output
            new = []
        elif isinstance(layer, QuantizedEntry):
            new, output = layer.freeze([self._as_float(call.inputs[0], call)], shape)
        elif isinstance(layer, QuantizedLayer):
            new, output = layer.freeze([self._integers(t, call) for t in call.inputs], shape)
        else:
            new, output = _freeze_stock(call, self._integers(call.inputs[0], call), shape)
        self.operators += new
        self.tensors[id(call.outputs[0])] = output

    def add_region(self, region):
        """Calls that stay float."""
        outside = [self._as_float(tensor, region.calls[0]) for tensor in region.inputs]
        block = self._block(region.calls, region.inputs, outside, region.outputs)
        for call in region.calls:
            taken = {id(t): t for t in call.inputs}.values()
            given = [self._describe(t, call) for t in taken]
            block.parts.append(self._block([call], list(taken), given, call.outputs))
        for tensor, frozen in zip(region.outputs, block.outputs, strict=True):
            if not tensor.shape:
                raise ValueError(
                    f"Layer {tensor._keras_history.operation.name!r} gives one number for a whole "
                    "batch; give one for each element, axis=-1 for example."
                )
            if frozen.dtype != "float32":
                raise ValueError(
                    f"Layer {tensor._keras_history.operation.name!r} gives {frozen.dtype}; what "
                    "leaves the float part of a file is float32: put keras.ops.cast(x, "
                    "'float32') behind it."
                )
            self.tensors[id(tensor)] = frozen
        self.operators.append(block)

    def _block(self, calls, symbolic, inputs, outputs):
        return integer.FloatBlock(
            name=calls[0].name,
            layers=list(dict.fromkeys(call.name for call in calls)),
            inputs=inputs,
            outputs=[
                self._describe(tensor, call)
                for call in calls
                for tensor in call.outputs
                if any(tensor is output for output in outputs)
            ],
            function=Inference(calls, symbolic, list(outputs)),
        )

    def _describe(self, symbolic, call):
        """A float tensor, or an int8 one as a float layer takes it."""
        name = self._names.get(id(symbolic), symbolic.name)
        shape = tuple(symbolic.shape)
        if None in shape[1:]:
            raise ValueError(_unknown_size(call, shape))
        return integer.FloatTensor(name, shape[1:], keras.backend.standardize_dtype(symbolic.dtype))

    def _integers(self, symbolic, call):
        tensor = self.tensors.get(id(symbolic))
        if not isinstance(tensor, integer.Tensor):
            raise ValueError(
                f"Layer {call.name!r} computes on integers and takes what "
                f"{symbolic._keras_history.operation.name!r} gives in float; quantize the whole "
                "model with mobilequant.quantize, which puts a range between them."
            )
        return tensor

    def _as_float(self, symbolic, call):
        """A tensor as float layers take it: DEQUANTIZE behind integers, once."""
        tensor = self.tensors.get(id(symbolic))
        if tensor is None:
            raise ValueError(
                f"Layer {call.name!r} takes the input "
                f"{symbolic._keras_history.operation.name!r} in float; quantize the whole model "
                "with mobilequant.quantize."
            )
        if isinstance(tensor, integer.FloatTensor):
            return tensor
        if tensor.name not in self._floats:
            real = integer.FloatTensor(f"{tensor.name}/float", tensor.shape, internal=True)
            self.operators.append(integer.Operator("DEQUANTIZE", real.name, [tensor], [real]))
            self._floats[tensor.name] = real
        return self._floats[tensor.name]


def _origin(qmodel, graph):
    for call in graph.calls:
        if isinstance(call.layer, layers.QuantizedInput):
            return call.layer.target, call.layer.recipe
    raise ValueError(
        f"Model {qmodel.name!r} is not quantized; call mobilequant.quantize(model) first."
    )


def _check(qmodel, graph, allow_float):
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
        _require_finite(layer)
    if obstacles:
        raise ValueError(
            f"Model {qmodel.name!r} trains and evaluates in Keras, but no device computes it. "
            "TFLite holds activations of 8 bits, affine, with one scale, and linear weights with "
            "one scale a tensor or a channel; but\n"
            + "".join(f"  {_some(names)}: {what}\n" for what, names in obstacles.items())
            + "For a .tflite file quantize it by a recipe with activations of 8 bits and linear "
            "weights, such as 'w8a8', 'w4a8', 'w2a8', 'ternary-a8' or 'w8a8-2:4'."
        )
    left = [call for call in graph.calls if is_float(call)] or [
        call for call in graph.calls if isinstance(call.layer, QuantizedEntry)
    ]
    if left and not allow_float:
        raise ValueError(
            f"Model {qmodel.name!r} trains and evaluates in Keras, but has layers left in float: "
            f"{_some([call.name for call in left])}. Files are written with integers only: write a "
            "mixed file with allow_float=True, or use layers that the device computes in integers "
            "and quantize without leave_float, or end the model before these, "
            "keras.Model(qmodel.input, …), and compute the rest in the app."
        )
    for call in left:
        _require_finite(call.layer)
        if isinstance(call.layer, keras.Model) and quantized_layers(call.layer):
            raise ValueError(
                f"Model {call.name!r} is quantized and nested in {qmodel.name!r}: convert it by "
                "itself, or quantize the float model as a whole."
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


def _require_finite(layer):
    for variable in getattr(layer, "weights", []):
        if not np.all(np.isfinite(ops.convert_to_numpy(variable))):
            raise ValueError(
                f"Layer {layer.name!r}: {variable.path!r} holds NaN or infinite values."
            )


def _some(names):
    listed = ", ".join(repr(name) for name in names[:5])
    return listed if len(names) <= 5 else f"{listed} and {len(names) - 5} more layers"


def _static_shapes(call):
    shapes = [tuple(tensor.shape) for tensor in call.outputs]
    for shape in shapes:
        if None in shape[1:]:
            raise ValueError(_unknown_size(call, shape))
    return shapes


def _unknown_size(call, shape):
    return (
        f"Layer {call.name!r} has an output of unknown size {shape}; build the model with a fixed "
        "input_shape: a file for a device has no dynamic sizes."
    )


def _freeze_stock(call, source, shape):
    """Stock layers that stay in a quantized model."""
    form = frozen_form(call.layer, source, shape[1:])
    if form is None:
        raise ValueError(f"Layer {call.name!r} ({type(call.layer).__name__}) has no frozen form.")
    return form
