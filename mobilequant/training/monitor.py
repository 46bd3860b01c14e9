"""A look inside quantized training: every layer's error, zeros and flips while `fit` runs."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import time
import warnings
from pathlib import Path

import keras
import numpy as np
from keras import ops

from mobilequant import drawing
from mobilequant.layers import FoldedLayer
from mobilequant.layers.activation_quantizer import observing
from mobilequant.quantize.state import quantized_layers
from mobilequant.training import monitor_plot
from mobilequant.writing import written_whole

#: What is measured of the weights, and of activations where a batch is given.
WEIGHT_QUANTITIES = ("error", "zeros", "flips")
QUANTITIES = (*WEIGHT_QUANTITIES, "activation_error")

#: TensorBoard makes a group of what stands before the slash; one more holds the means of each.
_TAG = "quantization_{quantity}/{layer}"
_MEAN_TAG = "quantization/mean_{quantity}"

#: Seconds between two drawings while training goes on.
_REDRAW_AFTER = 30.0

_TINY = float(np.finfo(np.float32).tiny)


class QuantizationMonitor(keras.callbacks.Callback):
    """Measures, layer by layer, what quantization does to the weights while they train.

    Of every weight tensor w that is quantized (or sparse), with integers q and dequantized ŵ:

    - error: ‖ŵ − w‖ / ‖w‖, relative; w is the dense float tensor, so that what sparsity drops is
      in it. The signal-to-noise ratio is the same figure: −20·log10(error) dB.
    - zeros: the share of q that is exactly 0; of an affine grid 0, since no integer of it is real
      zero.
    - flips: the share of q that differs from that of the last look, divided by the training steps
      between: flips per step and weight. An integer that went and came back between two looks
      does not count: with `every=1` the figure is exact, otherwise a lower bound. None at the
      first look.

    With `batch`, also of every activation quantizer x → x̂, with the moving range of inference:

    - activation_error: ‖x̂ − x‖ / ‖x‖ on that batch. Weights are quantized, activations before
      are not: each layer is blamed for what it rounds itself. None until the range is known, and
      while the phase is "float".

    The weights' figures are those of quantized weights in the phase "float" too: what switching
    quantization on would do now. Of weights that are sparse but stay in float, q is 1 or 0: flips
    are those of the mask.

    It looks when training begins, then every so many steps, and at the end. Steps are those of
    the optimizer, and go on over several calls of `fit`; where a run goes on from a backup, what
    was seen after it is forgotten (`restore` reads the figures that an earlier process saved).
    Works on TensorFlow and JAX alike; on JAX, Keras keeps the weights of a running epoch outside
    the model, and each look brings them back, which costs a copy.

    A look costs two quantizations of the weights, no data, and the memory of one byte a weight: as
    much time as half a training step of MobileNetV2 (32 images of 96 pixels, on a CPU), which is
    half a percent with the default. A batch costs an inference in float on top.

    Args:
        log_dir: Folder for TensorBoard, made if need be; without it nothing is logged. Tags are
            "quantization_error/<layer>" and so on, and "quantization/mean_error" over all layers.
        plot: File (".png", ".pdf" or ".svg") that `plot` writes at the end of training, and after
            epochs, at most twice a minute, so that an interrupted run has one too.
        every: Training steps from look to look.
        batch: What the model takes, a batch of images for example, kept for activation errors.

    Attributes:
        history: {"steps": [step, …], "error": {layer: [figure, …]}, "zeros": …, "flips": …,
            "activation_error": …}, all lists as long as "steps". Plain numbers or None.

    Raises:
        ValueError: `every` is no whole number of at least 1, or a path cannot be written; when
            `fit` begins, a model without anything to look at.
        ImportError: `plot` without matplotlib, `log_dir` without TensorBoard.

    Example:
        monitor = mq.training.QuantizationMonitor(log_dir="logs", plot="inside.png", every=50)
        qmodel.fit(images, labels, epochs=5, callbacks=[monitor])
        monitor.plot()
    """

    def __init__(self, log_dir=None, plot=None, *, every: int = 100, batch=None):
        super().__init__()
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ValueError(
                f"QuantizationMonitor: every counts training steps, from 1 on, not {every!r}."
            )
        self.every = every
        self.batch = batch
        self.log_dir = None if log_dir is None else _log_folder(log_dir)
        self.plot_path = None if plot is None else drawing.check_path(plot)
        self.history = _empty()
        self._layers, self._levels = {}, {}
        self._step = self._first = 0
        self._begun, self._looked_at = False, None
        self._writer = None
        self._drawn_at = -math.inf

    # What Keras calls.

    def on_train_begin(self, logs=None):
        self._layers = _weight_layers(self.model)
        if not self._layers and (self.batch is None or not quantized_layers(self.model)):
            raise ValueError(
                f"QuantizationMonitor: model {self.model.name!r} has no quantized weights; call "
                "mobilequant.quantize(model) first."
            )
        self._begun = False

    def on_epoch_begin(self, epoch, logs=None):
        # Here and not in `on_train_begin`: a BackupAndRestore further down the list restores there.
        done = _steps_done(self.model.optimizer)
        if not self._begun:
            self._begun = True
            self._rewind(done)
            self._first = self._step = max(done, self._step)
            if self._looked_at != self._step:
                self._look()
        self._first = self._step

    def on_train_batch_end(self, batch, logs=None):
        self._step = self._first + batch + 1
        if self._step - self._looked_at >= self.every:
            self._look()

    def on_epoch_end(self, epoch, logs=None):
        if self.plot_path and time.monotonic() - self._drawn_at > _REDRAW_AFTER:
            self._draw()

    def on_train_end(self, logs=None):
        if self._begun and self._looked_at != self._step:  # not begun: there was no epoch left
            self._look()
        if self.plot_path and self.history["steps"]:
            self._draw()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    # What users call.

    def plot(self, path=None):
        """Draws the history: lines for a few layers, one row a layer for many.

        Args:
            path: File (".png", ".pdf" or ".svg") to write, whole or not at all; none by default.

        Returns:
            A `matplotlib.figure.Figure`; notebooks show it.

        Raises:
            ValueError: Nothing was measured yet, or the path cannot be written.
            ImportError: matplotlib is missing.
        """
        if path is not None:
            path = drawing.check_path(path)
        figure = monitor_plot.draw(self.history)
        if path is not None:
            drawing.save(figure, path)
        return figure

    def to_dict(self) -> dict:
        """A copy of `history`."""
        return {
            "steps": list(self.history["steps"]),
            **{
                quantity: {layer: list(values) for layer, values in self.history[quantity].items()}
                for quantity in QUANTITIES
            },
        }

    def save(self, path) -> None:
        """Writes `history` as JSON, whole or not at all.

        Raises:
            ValueError: The path does not end in ".json", or cannot be written.
        """
        path = drawing.check_path(path, (".json",))
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False))

    def restore(self, path) -> None:
        """Takes up the history that `save` wrote in an earlier process, to go on with `fit`.

        Raises:
            ValueError: There is no such file, or it holds something else.
        """
        try:
            history = json.loads(Path(path).read_text(encoding="utf-8"))
            count = len(history["steps"])
            lists = [values for name in QUANTITIES for values in history[name].values()]
            if any(len(values) != count for values in lists):
                raise ValueError("its lists differ in length")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is no history of a QuantizationMonitor: {error}.") from error
        self.history = {name: history[name] for name in ("steps", *QUANTITIES)}
        self._step = history["steps"][-1] if count else 0
        self._looked_at, self._levels = None, {}

    # A look.

    def _look(self):
        # `self.model` and not a reference of our own: on JAX, Keras brings the weights of the
        # running epoch back into the model when a callback asks for it.
        model = self.model
        between = None if self._looked_at is None else self._step - self._looked_at
        figures = {quantity: {} for quantity in QUANTITIES}
        for name, layer in self._layers.items():
            former = self._levels.get(name)
            values, self._levels[name] = _measure(layer, former, between)
            for quantity, value in zip(WEIGHT_QUANTITIES, values, strict=True):
                figures[quantity][name] = value
        if self.batch is not None:
            figures["activation_error"] = _activation_errors(model, self.batch)
        self._looked_at = self._step
        if self.history["steps"][-1:] == [self._step]:
            return  # A run that goes on from here: only the integers were missing.
        self._note(figures)
        if self.log_dir is not None:
            self._log(figures)

    def _note(self, figures):
        """Appends to the history; where a layer is new or gone, None fills its list."""
        count = len(self.history["steps"])
        self.history["steps"].append(self._step)
        for quantity, values in figures.items():
            lists = self.history[quantity]
            for name in values:
                lists.setdefault(name, [None] * count)
            for name, known in lists.items():
                known.append(values.get(name))

    def _log(self, figures):
        import tensorflow as tf

        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.log_dir))
        with self._writer.as_default(step=self._step):
            for quantity, values in figures.items():
                known = {name: value for name, value in values.items() if value is not None}
                for name, value in known.items():
                    tf.summary.scalar(_TAG.format(quantity=quantity, layer=name), value)
                if known:
                    mean = sum(known.values()) / len(known)
                    tf.summary.scalar(_MEAN_TAG.format(quantity=quantity), mean)
        self._writer.flush()

    def _rewind(self, done):
        """Forgets what was seen after step `done`, where the optimizer went back to it."""
        steps = self.history["steps"]
        if not 0 < done < max(steps, default=0):
            return
        kept = sum(step <= done for step in steps)
        del steps[kept:]
        for quantity in QUANTITIES:
            for values in self.history[quantity].values():
                del values[kept:]
        self._step, self._looked_at, self._levels = done, None, {}

    def _draw(self):
        self._drawn_at = time.monotonic()
        try:
            self.plot(self.plot_path)
        except OSError as error:  # a full disk must not end the training
            warnings.warn(f"{self.plot_path} was not written: {error}", stacklevel=2)


def _measure(layer, former, between):
    """Error, zeros and flips of a layer, and its integers."""
    quantizer, kernel = layer.weight_quantizer, layer.flat_kernel()
    scheme = quantizer.scheme
    linear = scheme.grid == "linear"
    levels = ops.cast(quantizer.levels(kernel), "int8" if linear else "uint8")
    noise = quantizer.simulate(kernel) - kernel
    error = _norm(noise) / ops.maximum(_norm(kernel), _TINY)
    zeros = _share(ops.equal(levels, 0)) if linear else ops.zeros(())
    changed = former is not None and bool(between)
    flips = _share(ops.not_equal(levels, former)) / between if changed else ops.zeros(())
    error, zeros, flips = ops.convert_to_numpy(ops.stack([error, zeros, flips])).tolist()
    return (_number(error), zeros, flips if changed else None), levels


def _activation_errors(model, batch) -> dict:
    """‖x̂ − x‖ / ‖x‖ of each activation quantizer on a batch."""
    names = {}
    for name, layer in _named(quantized_layers(model)).items():
        for quantizer in layer.quantizers:
            own = quantizer is layer.output_quantizer
            names[id(quantizer)] = name if own else f"{name}/input"
    errors = {}

    def measure(quantizer, x):
        error = _norm(quantizer.infer(x) - x) / ops.maximum(_norm(x), _TINY)
        ready = bool(ops.convert_to_numpy(quantizer.ready()))
        value = float(ops.convert_to_numpy(error))
        errors[names[id(quantizer)]] = _number(value) if ready else None

    with observing(measure):
        model(batch, training=False)
    return errors


def _weight_layers(model) -> dict:
    """The layers whose weights are quantized or sparse, by name."""
    layers = [layer for layer in quantized_layers(model) if isinstance(layer, FoldedLayer)]
    schemes = [(layer, layer.weight_scheme) for layer in layers]
    return _named([layer for layer, s in schemes if s.quantized or s.sparsity is not None])


def _named(layers) -> dict:
    """Layers by name; equal names (in nested models) are numbered."""
    named = {}
    for layer in layers:
        name, number = layer.name, 1
        while name in named:
            name, number = f"{layer.name}_{number}", number + 1
        named[name] = layer
    return named


def _steps_done(optimizer) -> int:
    """Batches that an optimizer has seen."""
    updates = int(ops.convert_to_numpy(optimizer.iterations))
    return updates * (getattr(optimizer, "gradient_accumulation_steps", None) or 1)


def _norm(x):
    return ops.sqrt(ops.sum(ops.square(x)))


def _share(true):
    return ops.mean(ops.cast(true, "float32"))


def _number(value: float):
    """A figure, or None for NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def _empty() -> dict:
    return {"steps": [], **{quantity: {} for quantity in QUANTITIES}}


def _log_folder(path) -> Path:
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError(
            "QuantizationMonitor: logs need TensorBoard: pip install 'mobilequant[plots]'."
        )
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"QuantizationMonitor: log_dir {path} cannot be made ({error.strerror}); name another "
            "folder."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ValueError(f"QuantizationMonitor: no permission to write in log_dir {path}.")
    return path
