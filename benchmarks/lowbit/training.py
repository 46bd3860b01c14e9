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


def train(model, data, test, settings, *, seed, rate=1.0, recipe=None, weights=None):
    """One run from random weights, or quantized from those of a float network.

    Args:
        model: Float Keras model, freshly built.
        data, test: (images in [−1, 1], labels).
        settings: "epochs" of the whole schedule, "float_epochs" at its beginning in which every
            network is still float, "batch_size", "learning_rate".
        seed: Of order and mirroring.
        rate: Factor on the learning rate.
        recipe: `mq.Recipe`, or None for float.
        weights: Weights of the float network after the float epochs; trains the rest from there.

    Returns:
        Results as plain values, and the trained model.
    """
    batch_size, epochs = settings["batch_size"], settings["epochs"]
    steps = len(data[0]) // batch_size
    first = 0
    if weights is not None:
        model.set_weights(weights)
        first = settings["float_epochs"]
    if recipe is not None:
        model = mq.quantize(model, recipe)
        # Learned step sizes start from data; for the others it changes nothing.
        mq.calibrate(model, data[0][:256], batch_size=256, verbose=0)
    compile_for(model, settings, steps, rate)
    model.optimizer.iterations.assign(first * steps)
    curve = Curve(steps * (epochs - first))
    started = time.perf_counter()
    history = model.fit(
        Batches(*data, batch_size, seed, first),
        initial_epoch=first,
        epochs=epochs,
        verbose=0,
        shuffle=False,
        callbacks=[curve],
    )
    seconds = time.perf_counter() - started
    loss, accuracy = model.evaluate(*test, batch_size=500, verbose=0)
    result = {
        "accuracy": float(accuracy),
        "test_loss": float(loss),
        "train_accuracy": float(history.history["accuracy"][-1]),
        "losses": curve.losses,
        "seconds": round(seconds, 1),
    }
    return result, model


def float_start(model, data, settings, *, seed):
    """Weights of the float network after the float epochs: where every quantized run starts."""
    steps = len(data[0]) // settings["batch_size"]
    compile_for(model, settings, steps)
    batches = Batches(*data, settings["batch_size"], seed, 0)
    model.fit(batches, epochs=settings["float_epochs"], verbose=0, shuffle=False)
    return model.get_weights()


def compile_for(model, settings, steps, rate=1.0):
    """Adam under one cosine over all epochs, float and quantized."""
    total = steps * settings["epochs"]
    model.compile(
        keras.optimizers.Adam(
            cosine_schedule(settings["learning_rate"] * rate, total, total // 10)
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=keras.backend.backend() == "jax",
    )


class Batches(keras.utils.PyDataset):
    """Shuffled batches, half of the images mirrored; both follow from seed and epoch."""

    def __init__(self, images, labels, batch_size, seed, epoch):
        super().__init__()
        self.images, self.labels, self.batch_size = images, labels, batch_size
        self.seed, self.epoch = seed, epoch
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
        self.epoch += 1
        self._shuffle()

    def _shuffle(self):
        random = np.random.default_rng((self.seed, self.epoch))
        self.order = random.permutation(len(self.images))
        self.mirrored = random.random(len(self.images)) < 0.5


@functools.cache
def cifar10(folder, split, limit=None):
    """(images in [−1, 1], labels) of TFDS' cifar10 in a folder."""
    import tensorflow_datasets as tfds

    split = f"{split}[:{limit}]" if limit else split
    data = tfds.load("cifar10", data_dir=folder, split=split, download=False, batch_size=-1)
    images = data["image"].numpy().astype("float32") / 127.5 - 1
    return images, data["label"].numpy().astype("int32")
