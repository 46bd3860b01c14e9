"""Random changes of brightness, contrast, saturation and hue."""

import tensorflow as tf

# The amounts of SSD's photometric distortions (arXiv:1512.02325 sec. 2.2 takes them from Howard
# 2013, arXiv:1312.5402; the figures are those of its published code).
BRIGHTNESS = 32 / 255
CONTRAST = (0.5, 1.5)
SATURATION = (0.5, 1.5)
HUE = 18 / 360


def jitter(image, seed):
    """Changes each of the four in half of the cases.

    TensorFlow's stateless operations rather than Keras' preprocessing layers: those draw from a
    generator of their own, so that the result would depend on which image comes first.

    Args:
        image: uint8 tensor (height, width, 1 or 3); a grey one has no saturation and no hue.
        seed: integer tensor (2,).

    Returns:
        A uint8 tensor of the same shape.
    """
    seeds = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), 5))
    changes = [
        lambda x: tf.image.stateless_random_brightness(x, BRIGHTNESS, seeds[0]),
        lambda x: tf.image.stateless_random_contrast(x, *CONTRAST, seeds[1]),
    ]
    if image.shape[-1] == 3:
        changes += [
            lambda x: tf.image.stateless_random_saturation(x, *SATURATION, seeds[2]),
            lambda x: tf.image.stateless_random_hue(x, HUE, seeds[3]),
        ]
    chosen = tf.random.stateless_uniform((len(changes),), seeds[4]) < 0.5
    result = tf.cast(image, tf.float32) / 255.0
    for number, change in enumerate(changes):
        # Each in turn within 0 to 1, outside of which there is no hue.
        changed = tf.cond(
            chosen[number],
            lambda x=result, change=change: tf.clip_by_value(change(x), 0.0, 1.0),
            lambda x=result: x,
        )
        result = tf.ensure_shape(changed, image.shape)
    return tf.cast(tf.round(result * 255.0), tf.uint8)
