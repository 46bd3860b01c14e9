"""Training a model with `fit`: schedule, compilation, quantization phases, resumption."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading

import keras
import numpy as np

#: Peak learning rates at which the optimizers train a MobileNet from random weights, batch 32.
LEARNING_RATES = {"adam": 2e-3, "adamw": 2e-3, "rmsprop": 1e-3, "sgd": 5e-2}

_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": lambda rate: keras.optimizers.RMSprop(rate, momentum=0.9),
    "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
}


def cosine_schedule(peak: float, steps: int, warmup_steps: int = 0):
    """A learning rate that rises in a straight line to `peak`, then falls to 0 along a cosine.

    Args:
        peak: the largest learning rate, above 0.
        steps: training steps in all, at least 1.
        warmup_steps: how many of these it rises, from 0 to `steps - 1`.

    Returns:
        A `keras.optimizers.schedules.CosineDecay`.

    Raises:
        ValueError: a number is out of range.
    """
    if not 0 < peak < math.inf:
        raise ValueError(f"the learning rate must be above 0, got {peak!r}")
    if steps < 1:
        raise ValueError(f"there must be at least one training step, got {steps!r}")
    if not 0 <= warmup_steps < steps:
        raise ValueError(f"warmup_steps must be from 0 to {steps - 1}, got {warmup_steps!r}")
    schedule = keras.optimizers.schedules.CosineDecay
    if not warmup_steps:
        return schedule(peak, decay_steps=steps)
    return schedule(
        0.0, decay_steps=steps - warmup_steps, warmup_target=peak, warmup_steps=warmup_steps
    )


def batch_norm_momentum(steps: int) -> float:
    """Momentum of batch normalization for a run of so many steps, from 0.9 to 0.99.

    The moving statistics must have forgotten the beginning long before the end: they average
    over a twentieth of the run, but at least 10 and at most 100 steps.
    """
    return 1 - 1 / min(max(steps / 20, 10), 100)


def compile_classifier(
    model: keras.Model,
    *,
    optimizer: str = "adam",
    learning_rate=None,
    jit_compile: bool | str | None = None,
    ready: bool = True,
) -> keras.Model:
    """Compiles a model that gives one score for each class.

    Args:
        model: its last layer may be a softmax or give logits; the loss fits itself to it.
        optimizer: a key of `LEARNING_RATES`.
        learning_rate: a number or a Keras schedule; by default the optimizer's rate in
            `LEARNING_RATES`.
        jit_compile: as in `compile`; by default off where there is no GPU: XLA makes a step of
            a MobileNet several times slower on a CPU.
        ready: whether to make now what the optimizer keeps, which is saved with the model.

    Returns:
        `model`, compiled with the metric "accuracy".

    Raises:
        ValueError: an unknown optimizer.
    """
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=not gives_probabilities(model))
    return compile_model(
        model,
        loss,
        metrics=["accuracy"],
        targets=np.zeros(1, "int64") if ready else None,
        optimizer=optimizer,
        learning_rate=learning_rate,
        jit_compile=jit_compile,
    )


def compile_model(
    model: keras.Model,
    loss,
    *,
    metrics=None,
    targets=None,
    optimizer: str = "adam",
    learning_rate=None,
    jit_compile: bool | str | None = None,
) -> keras.Model:
    """Compiles a model for any task.

    Args:
        model: whose outputs the losses take.
        loss: as in `compile`.
        metrics: as in `compile`.
        targets: a batch of any one, as `fit` will get them, to make now what optimizer, losses and
            metrics keep. By default they do so in the first step, and what is saved before is
            smaller.
        optimizer: a key of `LEARNING_RATES`.
        learning_rate: a number or a Keras schedule; by default the optimizer's rate in
            `LEARNING_RATES`.
        jit_compile: as in `compile_classifier`.

    Returns:
        `model`, compiled.

    Raises:
        ValueError: an unknown optimizer.
    """
    if optimizer not in _OPTIMIZERS:
        raise ValueError(f"Unknown optimizer {optimizer!r}; one of {', '.join(_OPTIMIZERS)}.")
    if jit_compile is None:
        jit_compile = "auto" if _has_accelerator() else False
    rate = LEARNING_RATES[optimizer] if learning_rate is None else learning_rate
    model.compile(_OPTIMIZERS[optimizer](rate), loss, metrics=metrics, jit_compile=jit_compile)
    if targets is not None:
        _create_variables(model, targets)
    return model


def fit_model(
    model: keras.Model,
    train,
    *,
    epochs: int,
    validation=None,
    float_epochs: int = 0,
    freeze_epochs: int = 0,
    backup_dir: str | os.PathLike | None = None,
    callbacks=(),
) -> keras.callbacks.History:
    """Trains a compiled model with `fit`; an interrupted run goes on where it was.

    Args:
        model: a float model, or what `mobilequant.quantize` returned.
        train: `tf.data.Dataset` of batches of images and targets.
        epochs: passes over `train`, those of an interrupted run included.
        validation: evaluated after each epoch, if given.
        float_epochs: how many epochs at the beginning a quantized model trains as in float.
        freeze_epochs: how many epochs at the end ranges and batch normalization stay fixed.
        backup_dir: where the state is kept after each epoch. If it holds one, training goes on
            from there. The caller removes the folder once the result is safe.
        callbacks: further ones.

    Returns:
        The history of the epochs of this run.

    Raises:
        ValueError: the epochs do not fit one another, or the model is not quantized and has
            float or frozen epochs.
    """
    phases = phase_callbacks(model, epochs, float_epochs, freeze_epochs)
    # The backup comes last: the state that it keeps then includes what the others did at the
    # end of the epoch.
    backup = [_Backup(backup_dir)] if backup_dir is not None else []
    return model.fit(
        train,
        epochs=epochs,
        validation_data=validation,
        callbacks=[*phases, *callbacks, *backup],
        shuffle=False,  # a data set shuffles itself, and `fit` warns that it will not
        verbose=0,
    )


def phase_callbacks(model, epochs: int, float_epochs: int, freeze_epochs: int) -> list:
    """The callbacks that lead a quantized model through its phases.

    Args:
        model: that will be trained.
        epochs: of the whole run.
        float_epochs: how many at the beginning are in float.
        freeze_epochs: how many at the end have fixed ranges and batch normalization.

    Raises:
        ValueError: the epochs do not fit one another, or the model is not quantized.
    """
    if epochs < 1 or float_epochs < 0 or freeze_epochs < 0:
        raise ValueError(
            f"there must be at least one epoch, and none below 0: got {epochs} epochs, "
            f"{float_epochs} in float, {freeze_epochs} frozen"
        )
    if not (float_epochs or freeze_epochs):
        return []

    from mobilequant.quantize.state import quantized_layers
    from mobilequant.training.callbacks import FreezeAt, QuantizeFrom

    if not quantized_layers(model):
        raise ValueError(f"model {model.name!r} is not quantized: it has no phases to go through")
    if float_epochs + freeze_epochs >= epochs:
        raise ValueError(
            f"{float_epochs} epochs in float and {freeze_epochs} frozen leave none of {epochs} "
            "to train quantized"
        )
    callbacks = []
    if float_epochs:
        callbacks.append(QuantizeFrom(epoch=float_epochs))
    if freeze_epochs:
        callbacks.append(FreezeAt(epoch=epochs - freeze_epochs))
    return callbacks


def gives_probabilities(model: keras.Model) -> bool:
    """Whether the model ends in a softmax, be it a layer or the activation of one."""
    last = model.outputs[0]._keras_history.operation
    if isinstance(last, keras.Model):
        return gives_probabilities(last)
    if "softmax" in type(last).__name__.lower():
        return True
    return getattr(last, "activation", None) is keras.activations.softmax


@contextlib.contextmanager
def interrupts_held():
    """While open, ctrl-C waits: what is written inside is written whole."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted, and only it may set handlers
        return
    arrived = []
    former = signal.signal(signal.SIGINT, lambda *_: arrived.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
        if arrived:
            raise KeyboardInterrupt


class _Backup(keras.callbacks.BackupAndRestore):
    """Keras' callback, whose files ctrl-C cannot break, and which leaves them at the end."""

    def __init__(self, folder):
        super().__init__(os.fspath(folder), double_checkpoint=True, delete_checkpoint=False)

    def _save_model(self):
        with interrupts_held():
            super()._save_model()


def _create_variables(model, targets) -> None:
    """Makes what optimizer, losses and metrics keep, before the first step.

    A `tf.function` that makes variables in its first run is traced twice, which for a quantized
    MobileNet is half a minute.
    """
    model.optimizer.build(model.trainable_variables)
    # A Sequential model that was never called has `outputs` alone.
    outputs = model.outputs[0] if len(model.outputs) == 1 else model.output
    scores = keras.tree.map_structure(lambda x: np.zeros((1, *x.shape[1:]), "float32"), outputs)
    model.compute_loss(None, targets, scores)
    model.compute_metrics(None, targets, scores)
    model.reset_metrics()


def _has_accelerator() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))
