"""What every quantized layer is: a float form to train, an integer form to infer, a frozen form.

Between quantized layers flow real values. In inference each lies exactly on its tensor's grid,
so that the next layer recovers the integer from it and computes on integers, as the device does.
Where no device holds the integers (less than 8 bits in activations, affine or block-wise weights),
a layer infers in float what it trains, with the moving statistics.
For that a layer must know the grid of its inputs: it finds the layers that make them, once, when
it is called symbolically (`_keras_history`), which happens alike when a model is quantized,
loaded, cloned or put together by hand.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from mobilequant import integer
from mobilequant.integer.arithmetic import Grid, recover
from mobilequant.layers.activation_quantizer import (
    ActivationQuantizer,
    observation_method,
    simulated_parts,
)
from mobilequant.layers.moving import keeps_grid
from mobilequant.quantizers import TERNARY


class QuantizedLayer(keras.layers.Layer):
    """Base class.

    A subclass has `output_quantizer` and implements `train(*inputs)` (differentiable, ends in
    `output_quantizer`), `infer_float(*inputs, observing)` (float, before the quantizer),
    `infer_integer(*centred)` (centred integers in and out) and `freeze(inputs)`. Where it has
    more quantizers than that of its output, it says so in `quantizers`, `obstacle` and `simulate`.

    Subclasses list the arguments that they add to the configuration in `get_config`.
    """

    #: Whether its output lies on the grid of its input, so that it has no quantizer of its own.
    keeps_grid = False

    def __init__(self, **kwargs):
        dtype = kwargs.get("dtype")
        super().__init__(**kwargs)
        if self.compute_dtype != "float32" or self.variable_dtype != "float32":
            raise ValueError(
                f"Layer {self.name!r}: quantized layers compute in float32, not "
                f"{dtype or self.dtype_policy.name!r}. Set the policy to 'float32' "
                "(keras.config.set_dtype_policy) before quantizing or loading."
            )
        # In an object of its own, so that Keras does not take other layers for parts of this one.
        self._links = _Links()

    # What Keras calls.

    def __call__(self, *args, **kwargs):
        outputs = super().__call__(*args, **kwargs)
        tensors = [t for t in keras.tree.flatten(args[:1]) if hasattr(t, "_keras_history")]
        if tensors:
            self.link([source_of(tensor) for tensor in tensors])
        return outputs

    def link(self, sources):
        """Remembers the quantized layers (or None) whose grids the inputs lie on.

        A subclass that demands something of its inputs' grids tells their quantizers here.
        """
        self._links.connect(self, sources)

    def call(self, inputs, training=None):
        inputs = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        method = observation_method()
        if method is not None:
            outputs = self.infer_float(*inputs, observing=True)
            self.output_quantizer.observe(outputs, method)
            return outputs
        if training:
            return self.train(*inputs)
        if simulated_parts() is not None or not self.infers_integers:
            return self.simulate(*inputs)
        return ops.cond(
            self._ready(),
            lambda: self._infer_on_grids(inputs),
            lambda: self.infer_float(*inputs, observing=False),
        )

    # What the rest of mobilequant calls.

    @property
    def quantizers(self) -> list[ActivationQuantizer]:
        """Its activation quantizers."""
        return [self.output_quantizer]

    def obstacle(self) -> str | None:
        """What no device does that this layer does, as a predicate; None if a device does it all.

        TFLite holds activations of 8 bits, affine, with one scale, and linear weights with one
        scale a tensor or a channel.
        """
        if self.output_quantizer.on_device_grid:
            return None
        return f"gives {describe(self.output_quantizer.scheme)}"

    @property
    def infers_integers(self) -> bool:
        """Whether inference computes what a device computes."""
        return self.obstacle() is None and all(
            source.output_quantizer.on_device_grid for source in self._links.sources
        )

    def simulate(self, *inputs):
        """Inference in float, with the statistics that training left."""
        return self.output_quantizer.infer(self.infer_float(*inputs, observing=False))

    def input_grids(self) -> list[Grid]:
        """Grids of the inputs, as tensors."""
        return [source.output_quantizer.grid() for source in self._links.sources]

    def describe_output(self, shape) -> integer.Tensor:
        """The frozen graph's view of the output tensor."""
        grid = self.output_quantizer.grid()
        return integer.Tensor(
            name=self.name,
            shape=tuple(int(size) for size in shape[1:]),
            scale=np.float32(ops.convert_to_numpy(grid.scale)),
            zero_point=int(ops.convert_to_numpy(grid.zero_point)),
        )

    def _ready(self):
        ready = self.output_quantizer.ready()
        for source in self._links.sources:
            ready = ops.logical_and(ready, source.output_quantizer.ready())
        return ready

    def _infer_on_grids(self, inputs):
        if len(self._links.sources) != len(inputs):
            # An input that lies on no known grid: float is all there is, and `freeze` refuses it.
            return self.infer_float(*inputs, observing=False)
        centred = [recover(x, grid) for x, grid in zip(inputs, self.input_grids(), strict=True)]
        return self.infer_integer(*centred) * self.output_quantizer.grid().scale


class _Links:
    """The quantized layers whose outputs a layer takes, in order."""

    def __init__(self):
        self.sources = []

    def connect(self, layer, sources):
        if any(source is None for source in sources):
            return
        if self.sources and [id(s) for s in self.sources] != [id(s) for s in sources]:
            raise ValueError(
                f"Layer {layer.name!r} is shared: it is called on the outputs of "
                f"{[s.name for s in self.sources]} and of {[s.name for s in sources]}, which have "
                "different ranges. Quantize a model in which each call has a layer of its own."
            )
        self.sources = sources

    def __deepcopy__(self, memo):
        return _Links()


def source_of(tensor):
    """The quantized layer whose grid a symbolic tensor lies on; None if there is none."""
    while True:
        history = getattr(tensor, "_keras_history", None)
        if history is None:
            return None
        operation = history.operation
        stays = keeps_grid(operation)
        if isinstance(operation, QuantizedLayer):
            stays = operation.keeps_grid
            if not stays:
                return operation
        if isinstance(operation, keras.Model) and hasattr(operation, "outputs"):
            tensor = operation.outputs[history.tensor_index]
        elif stays:
            tensor = operation._inbound_nodes[history.node_index].input_tensors[0]
        else:
            return None


def build_quantizer(layer, name, scheme, shape=None, **kwargs) -> ActivationQuantizer:
    """Makes and builds an `ActivationQuantizer` of a layer.

    Args:
        layer: The layer.
        name: Of the quantizer.
        scheme: Its `Scheme`.
        shape: Of the tensor that it quantizes; needed for one scale a channel.
    """
    quantizer = ActivationQuantizer(scheme, name=name, **kwargs)
    quantizer.build(shape)
    return quantizer


def describe(scheme) -> str:
    """A scheme in words: "4 bits, linear, one scale a channel"."""
    if not scheme.quantized:
        bits = "float"
    elif scheme.bits == TERNARY:
        bits = "ternary"
    else:
        bits = f"{scheme.bits} bit{'s' if scheme.bits > 1 else ''}"
    if not scheme.quantized and scheme.sparsity is None:
        return bits
    shared = {
        "tensor": "one scale",
        "channel": "one scale a channel",
        "block": f"one scale a block of {scheme.block_size}",
    }[scheme.granularity]
    sparse = [] if scheme.sparsity is None else [f"{scheme.sparsity} sparse"]
    return ", ".join([bits, scheme.grid, shared, *sparse])
