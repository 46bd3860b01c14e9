"""A quantized network that learns to say what the float one says, from images without labels."""

from __future__ import annotations

import json
import shutil

import keras
from deploy import images
from keras import ops

import mobilequant as mq
from mobilequant.training.fit import batch_norm_momentum, compile_model, cosine_schedule, fit_model

#: Steps between two backups, and the share of the run at the end with fixed ranges.
EPOCH_STEPS, FROZEN_SHARE = 25, 0.3

#: Arguments on which the result depends.
SETTINGS = ("steps", "batch_size", "learning_rate", "temperature", "seed", "limit")


def distilled(name, recipe, teacher, unlabelled, arguments, folder):
    """The quantized network, trained; from the folder where it was made before.

    Args:
        name: Of its files in the folder.
        recipe: Of mobilequant.
        teacher: The float model, which gives logits; it stays as it is.
        unlabelled: float32 images.
        arguments: Those of the command line.
        folder: Where stages are kept.
    """
    settings = {key: getattr(arguments, key) for key in SETTINGS} | {"recipe": repr(recipe)}
    saved, note = folder / f"{name}.keras", folder / f"{name}.json"
    backup = folder / f"{name}.backup"
    same = note.exists() and json.loads(note.read_text()) == settings
    if same and saved.exists():
        return keras.models.load_model(saved, compile=False)
    if not same:  # an interrupted run of other settings is no beginning
        shutil.rmtree(backup, ignore_errors=True)
        saved.unlink(missing_ok=True)
        note.write_text(json.dumps(settings))

    student = mq.quantize(teacher, recipe, target="phone-int4")
    mq.calibrate(student, unlabelled[:64], batch_size=16, verbose=0)
    steps = min(arguments.steps, EPOCH_STEPS)
    epochs = max(arguments.steps // steps, 1)
    for layer in student._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = batch_norm_momentum(arguments.steps)
    compile_model(
        student,
        softened(arguments.temperature),
        learning_rate=cosine_schedule(arguments.learning_rate, epochs * steps),
    )
    data = images.views(unlabelled, teacher, arguments.batch_size, steps, arguments.seed)
    fit_model(
        student,
        data,
        epochs=epochs,
        freeze_epochs=min(round(FROZEN_SHARE * epochs), epochs - 1),
        backup_dir=backup,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=_say)],
    )
    student.save(saved)
    shutil.rmtree(backup, ignore_errors=True)
    return student


def softened(temperature: float):
    """Kullback-Leibler divergence of softened probabilities (Hinton et al. 2015, arXiv:1503.02531).

    Both sides give logits; times the temperature squared its gradient does not depend on that.
    """

    def divergence(teacher, student):
        known = ops.log_softmax(teacher / temperature)
        difference = known - ops.log_softmax(student / temperature)
        return temperature**2 * ops.sum(ops.exp(known) * difference, axis=-1)

    return divergence


def _say(epoch, logs):
    print(f"  epoch {epoch + 1}: divergence {logs['loss']:.4f}", flush=True)
