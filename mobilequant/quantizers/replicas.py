"""Statistics over the whole batch where several devices each hold a part of it.

Under `tf.distribute` every replica sees its own part, and what is quantized over the range of the
batch needs the range of all of it. Keras' JAX engine computes on the whole batch to begin with.
"""

from __future__ import annotations

import math

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


def sum_over_replicas(*tensors) -> list:
    """The sums of small tensors over the replicas, in one exchange; differentiable.

    Not for use inside a branch (`ops.cond`), where TensorFlow lets replicas exchange nothing.
    """
    if replica_count() == 1:
        return list(tensors)
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, list(tensors)))


def mean_over_replicas(values, axes=None, *, keepdims=False):
    """`ops.mean` of the parts of a tensor that the replicas hold, as if they were one.

    The parts may differ in size, or be empty: what is left of the data at the end of an epoch.
    """
    if replica_count() == 1:
        return ops.mean(values, axis=axes, keepdims=keepdims)
    total = ops.sum(values, axis=axes, keepdims=keepdims)
    groups = float(math.prod(total.shape))
    count = ops.cast(ops.size(values), values.dtype) / groups
    total, count = sum_over_replicas(total, count)
    return total / count


def extremes_over_replicas(low, high):
    """The smallest of `low` and the largest of `high` over the replicas; differentiable."""
    count = replica_count()
    if count == 1:
        return low, high
    import tensorflow as tf

    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    mine = ops.expand_dims(ops.stack([low, -high]), 0)
    # Replicas exchange sums and means only: each adds its numbers in a row of its own.
    row = ops.reshape(ops.arange(count), (count, *[1] * (len(mine.shape) - 1)))
    (rows,) = sum_over_replicas(ops.where(ops.equal(row, replica), mine, 0.0))
    low, high = ops.unstack(ops.min(rows, axis=0), 2)
    return low, -high
