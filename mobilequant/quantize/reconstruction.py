"""`reconstruct`: weights of few bits that give, block by block, what the float weights gave."""

from __future__ import annotations

import collections
import functools
import math

import keras
import numpy as np
from keras import ops

from mobilequant.layers import FoldedLayer
from mobilequant.layers.activation_quantizer import NOTHING, observing
from mobilequant.layers.base import describe
from mobilequant.quantize.batches import check_batch, in_batches, inputs_of
from mobilequant.quantize.blocks import blocks_of
from mobilequant.quantize.graph import flat_graph
from mobilequant.quantize.regions import Inference
from mobilequant.quantize.soft_kernel import SoftKernel, use_weight_scheme
from mobilequant.quantize.state import assign_phase, keeping_phases, quantized_layers
from mobilequant.quantizers import TERNARY
from mobilequant.quantizers.learned_rounding import indecision

#: Training steps a block.
STEPS = 1000

#: What a weight that has not decided costs, beside an error as large as the variance of one
#: channel; over which share of the steps it costs nothing; and the sharpness of that cost at the
#: beginning and at the end. The form is that of arXiv:2004.10568, eq. 24; the numbers suit 1,000
#: steps, where the papers take 10,000 and more.
INDECISION, WARMUP, SHARPNESS = 0.02, 0.2, (20.0, 2.0)

#: Images of a step: as many as give so many places of a block's largest tensor, within limits.
PLACES, IMAGES = 25_000, (2, 32)


def reconstruct(
    qmodel, data, *, steps=STEPS, learning_rate=0.02, batch_size=32, seed=0, verbose="auto"
):
    """Learns how the weights of few bits are rounded, from images without labels.

    A block of layers after the other (a residual block, say) learns to give what it gave with
    float weights, from inputs as the quantized blocks before it make them: each weight goes to
    the integer above or below, whichever makes up best for the rounding of the others (BRECQ, Li
    et al. 2021, arXiv:2102.05426, with AdaRound, arXiv:2004.10568). For a network that was
    trained in float and has no time to be trained again: some hundred images and some minutes.

    What rounding adds to the mean of a channel is taken off by the moving mean of its batch
    normalization, or by its bias: weights need not make up for it (bias correction, Nagel et al.
    2019, arXiv:1906.04721, section 4.2). Layers that share their weights, or have neither, go
    without. Nothing else changes: call `calibrate` afterwards, without `batch_norm`.

    The weights of less than 8 bits take part, with a linear grid and one scale a tensor or a
    channel; others are rounded to the nearest. Their range becomes "minmax", that of the new
    weights, which lie on their grid: the scale is the one that errs least. (A learned range stays
    as it is.)

    What each block takes and gives for all the data is kept in memory, in float32. (A MobileNetV2
    of 224×224 and 1,500 images take 12 minutes on two cores.)

    Args:
        qmodel: What `quantize` returned, with the weights that float training left.
        data: As for `calibrate`: an array, a `tf.data.Dataset` or an iterable of batches, once
            through. Some hundred images like those of the training, and augmented ones.
        steps: Training steps a block.
        learning_rate: Of Adam, for the variables that decide (see `soft_share`).
        batch_size: Images a batch where `data` is an array.
        seed: Of the order of the images.
        verbose: "auto" or 1 shows a progress bar, 0 is silent.

    Returns:
        `qmodel`, with new weights. If anything goes wrong, its former ones stay.

    Raises:
        ValueError: A model that is not quantized, that has no weights of less than 8 bits, or
            such of another grid; no data, NaN or infinite values, a shape that the model does not
            take, or inputs of unknown size; an argument out of range.

    Example:
        qmodel = mq.quantize(model, "w4a8")
        mq.reconstruct(qmodel, images)
        mq.calibrate(qmodel, images)
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps is how many training steps a block takes, 1 or more, not {steps}.")
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate must be above 0, not {learning_rate!r}.")
    learners = _learners(qmodel)
    graph = flat_graph(qmodel)
    values = _gathered(qmodel, graph, data, batch_size)
    blocks = blocks_of(graph)
    random = np.random.default_rng(seed)
    calls = collections.Counter(
        id(call.layer.layer) for call in graph.calls if isinstance(call.layer, FoldedLayer)
    )
    former = [(variable, _copy(variable)) for layer in learners for variable in layer.weights]
    schemes = [(layer, layer.weight_scheme) for layer in learners]
    streams = _Streams(qmodel, learners, values)
    shown = 1 if verbose in ("auto", 1, True) else 0
    progress = keras.utils.Progbar(len(blocks), verbose=shown, stateful_metrics=["error"])
    try:
        for number, block in enumerate(blocks, 1):
            targets = streams.in_float(block)
            inside = {id(call.layer) for call in block.calls}
            kernels = [
                SoftKernel(layer, layer.has_offset and calls[id(layer.layer)] == 1)
                for layer in learners
                if id(layer) in inside
            ]
            if kernels and targets:
                _learn(block, kernels, streams, targets, steps, learning_rate, random)
                for kernel in kernels:
                    kernel.decide(qmodel)
                streams.correct(block, kernels)
            error = streams.advance(block, targets, blocks[number:])
            progress.update(number, values=[("error", error)], finalize=number == len(blocks))
    except BaseException:
        for variable, value in former:
            variable.assign(value)
        for layer, scheme in schemes:
            use_weight_scheme(qmodel, layer, scheme)
        raise
    finally:
        # What Keras has compiled still computes with the former schemes.
        qmodel.train_function = qmodel.test_function = qmodel.predict_function = None
    return qmodel


class RoundingBlock(keras.Model):
    """A block that learns how to round."""

    def __init__(self, block, kernels, steps):
        super().__init__(dtype="float32")
        # Layers of another model, out of Keras' sight.
        self._parts = lambda: (block, kernels)
        self._learned = [kernel.variable for kernel in kernels]
        self._total = steps
        self.done = self.add_weight(name="done", shape=(), initializer="zeros", trainable=False)

    def call(self, tensors, training=None):
        block, kernels = self._parts()
        soft, undecided = {}, 0.0
        progress = self.done / self._total
        past = ops.clip((progress - WARMUP) / (1.0 - WARMUP), 0.0, 1.0)
        start, end = SHARPNESS
        sharpness = end + (start - end) * 0.5 * (1.0 + ops.cos(math.pi * past))
        for kernel in kernels:
            value, share = kernel.now()
            soft[id(kernel.layer.layer)] = functools.partial(kernel.infer, kernel=value)
            undecided += indecision(share, sharpness)
        if training:
            self.add_loss(ops.where(progress >= WARMUP, INDECISION, 0.0) * undecided)
            self.done.assign(self.done + 1.0)
        with observing(NOTHING):
            return tuple(_inference(block, soft)(list(tensors)))


class _Samples(keras.utils.PyDataset):
    """Random batches of what a block takes and gives."""

    def __init__(self, inputs, targets, size, steps, random):
        super().__init__()
        self._inputs, self._targets = inputs, targets
        self._order = random.integers(0, len(targets[0]), (steps, size))

    def __len__(self):
        return len(self._order)

    def __getitem__(self, index):
        chosen = self._order[index]
        return tuple(x[chosen] for x in self._inputs), tuple(y[chosen] for y in self._targets)


class _Streams:
    """What all images are at the place where one block ends: in float, and quantized."""

    def __init__(self, qmodel, learners, values):
        self._members = quantized_layers(qmodel)
        self._in_float = {
            id(layer.layer): functools.partial(
                FoldedLayer.infer_with, flat=_copy(layer.flat_kernel())
            )
            for layer in learners
        }
        self.float, self.quantized = dict(values), dict(values)

    def in_float(self, block):
        """What a block gives with float weights, in the order of its outputs."""
        # Its own, if it shares them with a block before it that has decided.
        with keeping_phases(self._members):
            assign_phase(self._members, "float")
            return _in_parts(_inference(block, self._in_float), block, self.float)

    def correct(self, block, kernels):
        """Takes off what rounding has added to means, one layer after the other."""
        kernels = {id(kernel.layer): kernel for kernel in kernels if kernel.corrects}
        for i, call in enumerate(block.calls):
            if id(call.layer) in kernels:
                with observing(NOTHING):
                    before = Inference(block.calls[:i], block.inputs, call.inputs)
                    mean = _mean(before, block, self.quantized)
                kernels[id(call.layer)].correct(mean)

    def advance(self, block, targets, rest):
        """Goes behind a block; returns the error of what it gives, as a share of its variance."""
        with observing(NOTHING):
            found = _in_parts(_inference(block, {}), block, self.quantized)
        self.float |= {id(t): x for t, x in zip(block.outputs, targets, strict=True)}
        self.quantized |= {id(t): x for t, x in zip(block.outputs, found, strict=True)}
        needed = {id(tensor) for other in rest for tensor in other.inputs}
        for stream in (self.float, self.quantized):
            for key in [key for key in stream if key not in needed]:
                del stream[key]
        errors = [
            float(np.mean(np.square(x - y))) / variance
            for x, y, variance in zip(found, targets, map(_variance, targets), strict=True)
        ]
        return float(np.mean(errors)) if errors else 0.0


class _Instead:
    """A call of a graph for which a function of its layer and its input computes."""

    def __init__(self, call, function):
        self.call, self.function, self.outputs = call, function, call.outputs

    def infer(self, values):
        return [self.function(self.call.layer, values[id(self.call.inputs[0])])]


def _inference(block, functions):
    """A block as a layer, with functions instead of some calls, by the stock layers' ids."""
    calls = [
        _Instead(call, functions[id(call.layer.layer)])
        if isinstance(call.layer, FoldedLayer) and id(call.layer.layer) in functions
        else call
        for call in block.calls
    ]
    return Inference(calls, block.inputs, block.outputs)


def _learn(block, kernels, streams, targets, steps, learning_rate, random):
    inputs = [streams.quantized[id(tensor)] for tensor in block.inputs]
    shapes = [tensor.shape for call in block.calls for tensor in call.outputs]
    places = max(math.prod(shape[1:-1]) for shape in shapes)
    size = int(np.clip(PLACES // places, *IMAGES))
    learner = RoundingBlock(block, kernels, steps)
    losses = tuple(_error(target) for target in targets)
    # XLA takes long to compile on a CPU, and without it JAX takes long for every step.
    compiled = keras.backend.backend() == "jax"
    learner.compile(keras.optimizers.Adam(learning_rate), losses, jit_compile=compiled)
    samples = _Samples(inputs, targets, size, steps, random)
    learner.fit(samples, shuffle=False, verbose=0)


def _error(targets):
    """Squared error in variances of a channel, summed over channels.

    arXiv:2102.05426, without its weights from the Fisher information, which need labels or more
    passes.
    """
    channels = targets.shape[-1] if targets.ndim > 1 else 1
    weight = channels / _variance(targets)

    def error(target, found):
        square = ops.square(found - target)
        return weight * ops.mean(ops.reshape(square, (ops.shape(square)[0], -1)), axis=-1)

    return error


def _variance(target):
    """The variance of a channel, on average; where all is the same, its mean square."""
    of_channels = target.var(axis=tuple(range(max(target.ndim - 1, 1)))).mean()
    return float(of_channels or np.square(target).mean() or 1.0)


def _in_parts(inference, block, stream, size=32):
    """A block on all images, some at a time."""
    parts = [[_copy(x) for x in inference(given)] for given in _parts(block, stream, size)]
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _mean(inference, block, stream, size=32):
    """What a part of a block gives on average over all images, with a first dimension of 1."""
    total = 0.0
    for given in _parts(block, stream, size):
        (found,) = inference(given)
        total = total + ops.sum(found, axis=0, keepdims=True)
    return total / len(stream[id(block.inputs[0])])


def _parts(block, stream, size):
    arrays = [stream[id(tensor)] for tensor in block.inputs]
    for start in range(0, len(arrays[0]), size):
        yield [ops.convert_to_tensor(x[start : start + size]) for x in arrays]


def _copy(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def _learners(qmodel) -> list[FoldedLayer]:
    """The layers with weights that learn."""
    members = quantized_layers(qmodel)
    if not members:
        raise ValueError(
            f"Model {qmodel.name!r} is not quantized; call mobilequant.quantize(model) first."
        )
    low = [
        layer
        for layer in members
        if isinstance(layer, FoldedLayer)
        and not layer.borrows
        and (layer.weight_scheme.bits == TERNARY or layer.weight_scheme.bits < 8)
    ]
    if not low:
        raise ValueError(
            f"Model {qmodel.name!r} has no weights of less than 8 bits: there is nothing to learn; "
            "rounding to the nearest integer does."
        )
    for layer in low:
        scheme = layer.weight_scheme
        if scheme.grid != "linear" or scheme.granularity == "block":
            raise ValueError(
                f"Layer {layer.name!r} has weights of {describe(scheme)}: only linear ones with "
                "one scale a tensor or a channel learn how to round, such as those of 'w4a8'; "
                "train the others with fit."
            )
    return low


def _gathered(qmodel, graph, data, batch_size):
    """All the data in memory, by the ids of the model's inputs."""
    for tensor in graph.inputs:
        if None in tensor.shape[1:]:
            raise ValueError(
                f"Input {tensor._keras_history.operation.name!r} has an unknown size "
                f"{tuple(tensor.shape)}: build the model with a fixed input_shape, as a file for "
                "a device needs it."
            )
    batches, _ = in_batches(data, batch_size)
    kept = []
    for index, batch in enumerate(batches):
        inputs = inputs_of(batch)
        check_batch(qmodel, inputs, index)
        if isinstance(inputs, dict) and not isinstance(graph.structures[0], dict):
            inputs = [inputs[tensor.name] for tensor in graph.inputs]
        kept.append([ops.convert_to_numpy(x) for x in keras.tree.flatten(inputs)])
    if not kept:
        raise ValueError("The data is empty; give at least one batch of images.")
    arrays = [np.concatenate(parts).astype("float32") for parts in zip(*kept, strict=True)]
    return {id(tensor): x for tensor, x in zip(graph.inputs, arrays, strict=True)}
