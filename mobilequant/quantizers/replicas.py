"""Statistics over the whole batch where several devices each hold a part of it.

Under `tf.distribute` every replica sees its own part, and what is quantized over the range of the
batch needs the range of all of it. Keras' JAX engine computes on the whole batch to begin with.
"""

from __future__ import annotations

import keras
from keras import ops


def replica_count() -> int:
    """Replicas that this code runs for: 1 but inside `tf.distribute`'s `run`."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    if not tf.distribute.in_cross_replica_context():
        return tf.distribute.get_strategy().num_replicas_in_sync
    return 1


def mean_over_replicas(values):
    """The mean of a small tensor over the replicas; differentiable."""
    if replica_count() == 1:
        return values
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, values)


def extremes_over_replicas(low, high):
    """The smallest of `low` and the largest of `high` over the replicas."""
    if replica_count() == 1:
        return low, high
    import tensorflow as tf

    mine = tf.expand_dims(tf.stack([low, -high]), 0)
    gathered = tf.distribute.get_replica_context().all_gather(mine, axis=0)
    low, high = ops.unstack(ops.min(gathered, axis=0), 2)
    return low, -high
