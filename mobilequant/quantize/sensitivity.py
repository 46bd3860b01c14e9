"""`sensitivity`: what quantizing each layer costs, one layer at a time."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from mobilequant.layers import FoldedLayer, QuantizedSoftmax
from mobilequant.layers.activation_quantizer import PARTS, simulating
from mobilequant.quantize.batches import check_batch, in_batches, inputs_of
from mobilequant.quantize.sensitivity_report import LayerCost, Sensitivity
from mobilequant.quantize.state import assign_phase, keeping_phases, quantized_layers

MODES = ("only", "except")


def sensitivity(
    qmodel,
    data,
    *,
    mode="only",
    part="all",
    metric=None,
    batch_size=32,
    steps=None,
    verbose="auto",
) -> Sensitivity:
    """Ranks the layers of a quantized model by what quantizing each one costs.

    Every layer in turn is quantized alone while everything else is float, or left in float while
    everything else is quantized, and the outputs are compared with those of the float model:
    error = Σ (y − y_float)² / Σ y_float² over all data, in dB the signal-to-noise ratio
    −10·log10(error); of several outputs the errors are added. Where a softmax gives an output,
    what the softmax takes is compared: a sure probability hides everything.

    A layer's cost is that of its weights and of its output (and, below 8 bits of activations, of
    what it takes), or of one of the two, see `part`. Ranges are those of inference; the rounding
    is simulated in float, layer by layer, which is what the integers compute but for the last
    bit. Grids that the file format fixes (softmax, sigmoid, tanh) count as float.

    All runs share one compiled function, whose switches are variables: the time is that of
    (layers + 2) inferences over the data. A few dozen images rank layers well enough.

    Args:
        qmodel: What `quantize` returned, trained or calibrated. It stays as it is.
        data: Images, or batches of what the model takes, as for `calibrate`; with `metric`, pairs
            `(inputs, labels)`: a tuple of two arrays, or batches of such tuples. Kept in memory.
        mode: "only" (quantize one layer; worst: the largest error) or "except" (all but one;
            worst: the layer whose return to float leaves the smallest error).
        part: "all", "weights" or "activations": what is quantized at all.
        metric: For figures beside the error: "accuracy", the name of any Keras metric
            ("mean_absolute_error"), a `keras.metrics.Metric`, or a function `(labels, outputs)`
            that returns a number, or one a sample.
        batch_size: Images a batch where `data` is an array.
        steps: Batches to use; all by default.
        verbose: "auto" or 1 shows a progress bar, 0 is silent.

    Returns:
        A `Sensitivity`: print it, `plot` it, ask it for a `recipe`.

    Raises:
        ValueError: An unknown mode, part or metric, no data, bad data, data without labels for the
            metric; a model that is not quantized, not calibrated, or has no such part.

    Example:
        costs = mq.sensitivity(qmodel, images[:32])
        print(costs)
        qmodel = mq.quantize(model, costs.recipe("w4a8", count=3))
    """
    if mode not in MODES:
        raise ValueError(f"Unknown mode {mode!r}; one of {MODES}.")
    if part not in ("all", *PARTS):
        raise ValueError(f"Unknown part {part!r}; one of {('all', *PARTS)}.")
    parts = PARTS if part == "all" else (part,)
    members = _members(qmodel, parts)
    measure = _metric(metric)
    batches = _kept(qmodel, data, batch_size, steps, labelled=metric is not None)
    probe = _Probe(qmodel, batches, measure)
    everything = [layer for layer in quantized_layers(qmodel) if layer.quantizers]
    progress = keras.utils.Progbar(
        len(members) + 2, verbose=1 if verbose in ("auto", 1, True) else 0
    )
    rows = []
    with keeping_phases(everything), simulating(parts):
        assign_phase(everything, "float")
        in_float = probe.reference()
        progress.update(1)
        assign_phase(members, "quantized")
        whole = probe.run()
        progress.update(2)
        usual, other = ("float", "quantized") if mode == "only" else ("quantized", "float")
        assign_phase(members, usual)
        for layer in members:
            assign_phase([layer], other)
            error, figure = probe.run()
            assign_phase([layer], usual)
            rows.append(LayerCost.of(layer, parts, error, figure))
            progress.update(len(rows) + 2)
    return Sensitivity(
        model=qmodel.name,
        mode=mode,
        part=part,
        images=probe.images,
        layers=tuple(sorted(rows, key=lambda row: row.error, reverse=mode == "only")),
        whole_error=whole[0],
        metric_float=in_float,
        metric_whole=whole[1],
    )


class _Probe:
    """The model as one function with switches, and what its outputs are compared with."""

    def __init__(self, qmodel, batches, measure):
        signals = [_before_softmax(tensor) for tensor in keras.tree.flatten(qmodel.outputs)]
        self._model = keras.Model(
            qmodel.inputs, {"outputs": qmodel.outputs, "signals": signals}, name="sensitivity"
        )
        # XLA takes minutes to compile a network on a CPU.
        self._model.compile(jit_compile=False)
        self._single = len(qmodel.outputs) == 1
        # The model takes lists, whatever the user's does.
        self._batches = [([x] if hasattr(x, "shape") else x, labels) for x, labels in batches]
        self._measure = measure
        self.images = sum(len(keras.tree.flatten(inputs)[0]) for inputs, _ in batches)

    def reference(self):
        """Remembers the outputs as they are now, as float; returns their metric."""
        self._signals, outputs = [], []
        for inputs, _ in self._batches:
            found = self._model.predict_on_batch(inputs)
            self._signals.append([np.asarray(signal, "float64") for signal in found["signals"]])
            outputs.append(found["outputs"])
        powers = [
            sum(float(np.square(signals[i]).sum()) for signals in self._signals)
            for i in range(len(self._signals[0]))
        ]
        if not np.all(np.isfinite(powers)):
            raise ValueError(
                f"The float model gives NaN or infinite outputs on this data ({self.images} "
                "images); check the weights and the images."
            )
        self._powers = [power or np.finfo("float64").tiny for power in powers]
        return self._figure(outputs)

    def run(self):
        """The error of the outputs as they are now, and their metric."""
        noise, outputs = [0.0] * len(self._powers), []
        for (inputs, _), signals in zip(self._batches, self._signals, strict=True):
            found = self._model.predict_on_batch(inputs)
            for i, signal in enumerate(signals):
                noise[i] += float(np.square(found["signals"][i] - signal).sum())
            outputs.append(found["outputs"])
        return sum(n / p for n, p in zip(noise, self._powers, strict=True)), self._figure(outputs)

    def _figure(self, outputs):
        if self._measure is None:
            return None
        outputs = [batch[0] if self._single else batch for batch in outputs]
        return self._measure([labels for _, labels in self._batches], outputs)


def _members(qmodel, parts):
    """The layers that have something to quantize."""
    layers = quantized_layers(qmodel)
    if not layers:
        raise ValueError(
            f"Model {qmodel.name!r} is not quantized; call mobilequant.quantize(model) first."
        )
    for layer in layers:
        if not all(quantizer.calibrated for quantizer in layer.quantizers):
            raise ValueError(
                f"Layer {layer.name!r} has no range yet: train the model with fit, or set its "
                "ranges from data with mobilequant.calibrate(qmodel, images)."
            )
    members = [
        layer
        for layer in layers
        if ("weights" in parts and _has_weights(layer))
        or ("activations" in parts and any(q.quantizing for q in layer.quantizers))
    ]
    if not members:
        raise ValueError(f"Model {qmodel.name!r} has no quantized {' or '.join(parts)}.")
    return members


def _has_weights(layer):
    if not isinstance(layer, FoldedLayer):
        return False
    return layer.weight_scheme.quantized or layer.weight_scheme.sparsity is not None


def _before_softmax(tensor):
    """What a softmax takes that gives this tensor; else the tensor."""
    operation, node_index, _ = tensor._keras_history
    if not isinstance(operation, QuantizedSoftmax):
        return tensor
    return operation._inbound_nodes[node_index].input_tensors[0]


def _kept(qmodel, data, batch_size, steps, labelled):
    """The data as a list of (inputs, labels), checked."""
    pair = isinstance(data, tuple) and len(data) == 2 and hasattr(data[0], "shape")
    if pair and len(data[0]) != len(data[1]):
        raise ValueError(f"There are {len(data[0])} images and {len(data[1])} labels.")
    batches, _ = in_batches(data[0] if pair else data, batch_size)
    kept = []
    for index, batch in enumerate(batches):
        if index == steps:
            break
        inputs = keras.tree.map_structure(ops.convert_to_numpy, inputs_of(batch))
        check_batch(qmodel, inputs, index)
        labels = batch[1] if isinstance(batch, tuple) and len(batch) > 1 else None
        if pair:
            labels = data[1][index * batch_size : (index + 1) * batch_size]
        if labelled and labels is None:
            raise ValueError(
                f"Batch {index} of the data has no labels, which the metric needs: give a tuple "
                "(images, labels), or batches of such tuples."
            )
        kept.append((inputs, labels))
    if not kept:
        raise ValueError("The data is empty; give at least one batch of images.")
    return kept


def _metric(metric):
    """A function from the labels and outputs of all batches to a number, or None."""
    if metric is None:
        return None
    function = _correct if metric == "accuracy" else metric
    if isinstance(function, str):
        try:
            function = keras.metrics.get(function)
        except ValueError as error:
            raise ValueError(f"Unknown metric {metric!r}: Keras has none of that name.") from error
    if isinstance(function, keras.metrics.Metric):
        return lambda labels, outputs: _of_keras(function, labels, outputs)
    if not callable(function):
        raise ValueError(
            "metric is 'accuracy', the name of a Keras metric, a keras.metrics.Metric or a "
            f"function (labels, outputs), not {metric!r}."
        )

    def mean(labels, outputs):
        total = count = 0.0
        for y, found in zip(labels, outputs, strict=True):
            size = len(keras.tree.flatten(found)[0])
            total += size * float(np.mean(ops.convert_to_numpy(function(y, found))))
            count += size
        return total / count

    return mean


def _of_keras(metric, labels, outputs):
    metric.reset_state()
    for y, found in zip(labels, outputs, strict=True):
        metric.update_state(y, found)
    return float(ops.convert_to_numpy(metric.result()))


def _correct(labels, outputs):
    """Which samples are classified correctly; labels are classes, or one-hot."""
    labels = np.asarray(labels)
    if labels.shape == outputs.shape:
        labels = labels.argmax(-1)
    return labels.reshape(outputs.shape[:-1]) == outputs.argmax(-1)
