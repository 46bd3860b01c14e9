"""A quantized network that learns to say what the float one says, from images without labels.

What makes few images do:

- The statistics of batch normalization are measured anew behind the quantized weights, then stay:
  the batches' own would be one more thing in which student and teacher differ.
- The student learns what the teacher computes at the end of each block, not its scores alone
  (hints: Romero et al. 2014, arXiv:1412.6550).
"""

from __future__ import annotations

import json
import shutil

import keras
from deploy import images
from keras import ops

import mobilequant as mq
from mobilequant.training.fit import compile_model, cosine_schedule, fit_model

#: Steps between two backups; the share of the run in which the learning rate rises.
EPOCH_STEPS, WARMUP_SHARE = 25, 0.05

#: What the sum over the blocks counts beside the divergence of the scores.
HINT_WEIGHT = 0.2

#: Images for ranges and statistics; batches of so many.
CALIBRATION, BATCH_SIZE = 64, 16

#: Arguments on which the result depends.
SETTINGS = ("steps", "batch_size", "learning_rate", "temperature", "seed", "limit")


def calibrated(recipe, model, unlabelled, *, batch_norm=True):
    """The network as it is without training.

    Args:
        recipe: Of mobilequant.
        model: The float model; it stays as it is.
        unlabelled: float32 images.
        batch_norm: Whether its statistics are measured anew.
    """
    student = mq.quantize(model, recipe, target="phone-int4")
    if batch_norm:
        mq.calibrate(student, unlabelled, batch_norm=True, batch_size=BATCH_SIZE, verbose=0)
    return mq.calibrate(student, unlabelled[:CALIBRATION], batch_size=BATCH_SIZE, verbose=0)


def distilled(name, recipe, start, teacher, unlabelled, arguments, folder):
    """The network, trained; from the folder where it was made before.

    Args:
        name: Of its files in the folder.
        recipe: Of mobilequant.
        start: The float model that is quantized.
        teacher: The float model that it learns from, which gives logits.
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

    student = calibrated(recipe, start, unlabelled)
    mq.set_phase(student, "frozen")
    steps = min(arguments.steps, EPOCH_STEPS)
    epochs = max(arguments.steps // steps, 1)
    hints = ends_of_blocks(student)
    learner = keras.Model(student.inputs, [*outputs_of(student, hints), *student.outputs])
    known = keras.Model(teacher.inputs, [*outputs_of(teacher, hints.values()), *teacher.outputs])
    every = epochs * steps
    compile_model(
        learner,
        [hint] * len(hints) + [softened(arguments.temperature)],
        learning_rate=cosine_schedule(arguments.learning_rate, every, round(WARMUP_SHARE * every)),
    )
    fit_model(
        learner,
        images.views(unlabelled, known, arguments.batch_size, steps, arguments.seed),
        epochs=epochs,
        backup_dir=backup,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=_say(learner.output_names[-1]))],
    )
    student.save(saved)
    shutil.rmtree(backup, ignore_errors=True)
    return student


def ends_of_blocks(student) -> dict[str, str]:
    """The layers at which a block of MobileNetV2 ends, and those of the float network."""
    names = [layer.name for layer in student.layers]
    hints = {}
    for name in names:
        block, _, part = name.rpartition("_")
        if part == "add":
            hints[name] = name
        elif part == "project" and f"{block}_add" not in names:
            hints[name] = f"{name}_BN"
    return hints | ({"Conv_1": "out_relu"} if "Conv_1" in names else {})


def outputs_of(model, names):
    """What layers of a model give."""
    return [model.get_layer(name).output for name in names]


def hint(teacher, student):
    """The loss of one block."""
    return HINT_WEIGHT * relative_error(teacher, student)


def relative_error(teacher, student):
    """Squared error of features, as a share of the teacher's variance."""
    axes = list(range(1, len(teacher.shape)))
    return ops.mean(ops.square(student - teacher), axis=axes) / ops.var(teacher)


def softened(temperature: float):
    """Kullback-Leibler divergence of softened probabilities (Hinton et al. 2015, arXiv:1503.02531).

    Both sides give logits; times the temperature squared its gradient does not depend on that.
    """

    def divergence(teacher, student):
        known = ops.log_softmax(teacher / temperature)
        difference = known - ops.log_softmax(student / temperature)
        return temperature**2 * ops.sum(ops.exp(known) * difference, axis=-1)

    return divergence


def _say(scores):
    def say(epoch, logs):
        divergence = logs[f"{scores}_loss"]
        blocks = logs["loss"] - divergence
        print(f"  epoch {epoch + 1}: divergence {divergence:.4f}, blocks {blocks:.4f}", flush=True)

    return say
