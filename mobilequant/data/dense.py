"""The pipelines of detection and segmentation: shuffling, caching and batching."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from mobilequant.data import preprocessing
from mobilequant.data.sources.source import Split

# What evaluation sees is kept in memory after the first pass where it is at most so many bytes.
CACHE_BYTES = 256 * 2**20

# How many undecoded images are mixed where there are more.
SHUFFLE_BUFFER = 10_000


@dataclass(frozen=True)
class Pipeline:
    """From the examples of a source to batches.

    Attributes:
        decode: from (raw image, target of the source) to (uint8 image, target), any size.
        fit: from these to what evaluation sees: (uint8 image, target) of static shapes.
        change: from these and a seed (2,) to what training sees; `None` for the same.
        batch_size: images a batch.
        seed: of the order and the changes.
        example_bytes: what one example takes in memory as `fit` gives it.
    """

    decode: Callable
    fit: Callable
    change: Callable | None
    batch_size: int
    seed: int
    example_bytes: int

    def evaluation(self, split: Split) -> tf.data.Dataset:
        """Every image once, in the order of the split."""
        return self._batches(self._fitted(split), whole=False)

    def training(self, split: Split) -> tf.data.Dataset:
        """Shuffled anew each epoch, and changed if that was asked for."""
        if self.change is None:
            examples = self._fitted(split).shuffle(self._room(split), seed=self.seed)
        else:
            # Undecoded images are shuffled: they are the smaller ones.
            examples = split.read(0, split.size, self.seed)
            examples = examples.shuffle(min(split.size, SHUFFLE_BUFFER), seed=self.seed)
            # One seed for each image of each epoch, whichever thread takes it.
            seeds = tf.data.Dataset.random(self.seed, rerandomize_each_iteration=True)
            examples = tf.data.Dataset.zip(examples, seeds).map(
                lambda example, seed: self.change(*self.decode(*example), tf.stack([seed, 0])),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        # The last images of an epoch, too few for a batch, would disturb the batch statistics;
        # the next epoch leaves others out.
        return self._batches(examples, whole=split.size >= self.batch_size)

    def _fitted(self, split: Split) -> tf.data.Dataset:
        examples = split.read(0, split.size, None).map(
            lambda *example: self.fit(*self.decode(*example)),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return examples.cache() if split.size * self.example_bytes <= CACHE_BYTES else examples

    def _room(self, split: Split) -> int:
        return max(1, min(split.size, CACHE_BYTES // self.example_bytes))

    def _batches(self, examples: tf.data.Dataset, whole: bool) -> tf.data.Dataset:
        # Scaled as a batch: one operation instead of many, and a quarter of the memory before.
        batches = examples.batch(self.batch_size, drop_remainder=whole)
        batches = batches.map(lambda images, targets: (preprocessing.scale(images), targets))
        options = tf.data.Options()
        options.deterministic = True
        return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def example_bytes(image_shape: tuple[int, int, int], target_bytes: int) -> int:
    """What an image of 8 bits and its target take in memory."""
    return math.prod(image_shape) + target_bytes
