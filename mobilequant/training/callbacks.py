"""Callbacks for `fit`: when quantization begins, and when ranges and batch normalization freeze.

Both set a variable of the model (`mobilequant.set_phase`), so nothing is recompiled, and the
phase is saved and resumed with the weights. On JAX, where `fit` keeps the variables' values to
itself during an epoch, `Callback.model` hands them back first; so a callback of your own must take
the model from there too, and not from a variable.
"""

from __future__ import annotations

import keras

from mobilequant.quantize.state import set_phase


class QuantizeFrom(keras.callbacks.Callback):
    """Trains in float first and switches quantization on at a step or an epoch.

    While it trains in float the ranges follow the batches, so that they fit from the first
    quantized step on.

    Args:
        step: Training steps (batches, over all epochs and earlier calls of `fit`) in float. With
            `steps_per_execution` the first execution that begins at it or later is quantized.
        epoch: Index of the first quantized epoch, from 0. Give one of the two.

    Raises:
        ValueError: Both or none of `step` and `epoch` are given, or a negative one.
    """

    def __init__(self, step: int | None = None, epoch: int | None = None):
        super().__init__()
        if (step is None) == (epoch is None):
            raise ValueError("QuantizeFrom: give either step or epoch.")
        if (step if epoch is None else epoch) < 0:
            raise ValueError("QuantizeFrom: step and epoch count from 0.")
        self.step = step
        self.epoch = epoch
        self._before = 0
        self._on = None

    def on_train_begin(self, logs=None):
        self._before = self._steps_done()
        self._on = None
        if self.step is not None:
            self._set(self._before >= self.step)

    def on_epoch_begin(self, epoch, logs=None):
        self._before = self._steps_done()
        if self.epoch is not None:
            self._set(epoch >= self.epoch)

    def on_train_batch_begin(self, batch, logs=None):
        if self.step is not None:
            self._set(self._before + batch >= self.step)

    def _steps_done(self):
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))

    def _set(self, on: bool):
        if on == self._on:
            return
        self._on = on
        set_phase(self.model, "quantized" if on else "float")


class FreezeAt(keras.callbacks.Callback):
    """Freezes ranges and batch normalization from an epoch on; the weights train on.

    Put it behind `QuantizeFrom` in the list of callbacks.

    Args:
        epoch: Index of the first frozen epoch; negative counts from the end, so that -2 freezes
            the last two epochs.
    """

    def __init__(self, epoch: int):
        super().__init__()
        self.epoch = epoch
        self._frozen = False

    def on_train_begin(self, logs=None):
        self._frozen = False

    def on_epoch_begin(self, epoch, logs=None):
        first = self.epoch if self.epoch >= 0 else self.params["epochs"] + self.epoch
        if epoch >= first and not self._frozen:
            set_phase(self.model, "frozen")
            self._frozen = True
