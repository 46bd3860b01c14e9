"""One traced function for all tensors of a kind, on TensorFlow.

A model holds a hundred quantizers and their gradients. As nodes of one graph they take longer to
trace, and more memory, than the layers between them: MobileNetV2 has five times the nodes of its
float form. As calls of one function they cost a node each.
"""

from __future__ import annotations

import keras

from mobilequant.quantizers.replicas import replica_count


def shared(function, shapes, integers=()):
    """`function`, which on TensorFlow is traced once, whatever tensors it is called on.

    Args:
        function: Takes tensors and returns tensors; made of `keras.ops`, keeps no state, and may
            have a custom gradient.
        shapes: Of its arguments, None for dimensions that differ from call to call.
        integers: Positions of the arguments that are int32; the others are float32.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    traced = tf.function(
        function,
        input_signature=[
            tf.TensorSpec(shape, tf.int32 if index in integers else tf.float32)
            for index, shape in enumerate(shapes)
        ],
        autograph=False,
        # Or the graph's optimizer would copy the body to where it is called.
        experimental_attributes={"_noinline": True},
    )

    def call(*arguments):
        # Replicas exchange statistics, which TensorFlow allows at the top level only.
        return function(*arguments) if replica_count() > 1 else traced(*arguments)

    return call
