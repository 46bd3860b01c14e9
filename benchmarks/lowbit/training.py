"""One run: a network, a recipe, a seed; the same data, order and schedule for every method."""

from __future__ import annotations

import functools
import time

import keras
import numpy as np

import mobilequant as mq
from mobilequant.training.fit import cosine_schedule

#: Points of a learning curve.
POINTS = 40


class Curve(keras.callbacks.Callback):
    """Mean training loss of every fortieth of a run, as fit sees it."""

    def __init__(self, steps):
        super().__init__()
        self.every = max(steps // POINTS, 1)
        self.losses, self._sum, self._seen = [], 0.0, 0

    def on_train_batch_end(self, batch, logs=None):
        # Keras logs the mean since the epoch began; the loss of this batch is the difference.
        seen = batch + 1
        total = float(logs["loss"]) * seen
        self._sum += total - (self._last if batch else 0.0)
        self._last = total
        self._seen += 1
        if self._seen == self.every:
            self.losses.append(round(self._sum / self.every, 4))
            self._sum, self._seen = 0.0, 0


def train(model, data, *, epochs, batch_size, learning_rate, seed, recipe=None, test=None):
    """Trains a float model, or its quantized form from the same weights; returns what it gave.

    Args:
        model: Float Keras model, freshly built.
        data: (images, labels) in [−1, 1] to train on.
        epochs, batch_size, learning_rate, seed: Of the run.
        recipe: `mq.Recipe`, or None for float.
        test: (images, labels) of the test split.
    """
    steps = len(data[0]) // batch_size * epochs
    if recipe is not None:
        model = mq.quantize(model, recipe)
        if any(_learned(r) for r in (recipe, *recipe.overrides.values())):
            mq.calibrate(model, data[0][:256], batch_size=256, verbose=0)
    model.compile(
        keras.optimizers.Adam(cosine_schedule(learning_rate, steps, steps // 10)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=keras.backend.backend() == "jax",
    )
    curve = Curve(steps)
    started = time.perf_counter()
    history = model.fit(
        _Batches(*data, batch_size, seed), epochs=epochs, verbose=0, shuffle=False,
        callbacks=[curve],
    )
    seconds = time.perf_counter() - started
    loss, accuracy = model.evaluate(*test, batch_size=500, verbose=0)
    return {
        "accuracy": float(accuracy),
        "test_loss": float(loss),
        "train_accuracy": float(history.history["accuracy"][-1]),
        "losses": curve.losses,
        "seconds": round(seconds, 1),
    }, model


class _Batches(keras.utils.PyDataset):
    """Shuffled batches, half of the images mirrored; order and mirroring follow from the seed."""

    def __init__(self, images, labels, batch_size, seed):
        super().__init__()
        self.images, self.labels, self.batch_size = images, labels, batch_size
        self.random = np.random.default_rng(seed)
        self._shuffle()

    def __len__(self):
        return len(self.images) // self.batch_size

    def __getitem__(self, index):
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        images = self.images[chosen]
        mirrored = self.mirrored[chosen]
        images[mirrored] = images[mirrored, :, ::-1]
        return images, self.labels[chosen]

    def on_epoch_end(self):
        self._shuffle()

    def _shuffle(self):
        self.order = self.random.permutation(len(self.images))
        self.mirrored = self.random.random(len(self.images)) < 0.5


def _learned(recipe):
    return "learned" in (recipe.weights.range, recipe.activations.range)


@functools.cache
def cifar10(folder, split, limit=None):
    """(images in [−1, 1], labels) of TFDS' cifar10 in a folder."""
    import tensorflow_datasets as tfds

    split = f"{split}[:{limit}]" if limit else split
    data = tfds.load("cifar10", data_dir=folder, split=split, download=False, batch_size=-1)
    images = data["image"].numpy().astype("float32") / 127.5 - 1
    return images, data["label"].numpy().astype("int32")
