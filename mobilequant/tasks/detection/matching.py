"""Which object each anchor is to find.

Source: arXiv:1512.02325, section 2.2, "Matching strategy": first each object gets the anchor that
overlaps it most, then every other anchor whose overlap with an object exceeds a threshold takes
it as well.
"""

from mobilequant.lazy import LazyModule

tf = LazyModule("tensorflow")

#: What `match` says of an anchor that no object is given to: it learns that there is none, …
BACKGROUND = -1
#: … or it is left out of the loss.
IGNORED = -2


def iou(boxes, others):
    """Intersection over union of all pairs.

    Args:
        boxes: (..., N, 4), (ymin, xmin, ymax, xmax).
        others: (..., M, 4).

    Returns:
        (..., N, M), in [0, 1]; 0 where either box has no area.
    """
    common = _intersection(boxes, others)
    union = _area(boxes)[..., :, None] + _area(others)[..., None, :] - common
    return tf.math.divide_no_nan(common, union)


def match(
    boxes,
    labels,
    anchors,
    *,
    crowd=None,
    positive_iou: float = 0.5,
    negative_iou: float | None = None,
    force: bool = True,
    crowd_share: float = 0.5,
):
    """Gives an object, the background or nothing to every anchor.

    Args:
        boxes: (batch, N, 4) float32, objects, (ymin, xmin, ymax, xmax) in shares of the image.
        labels: (batch, N) integers; −1 is padding. Boxes without an area count as padding, too.
        anchors: (anchors, 4).
        crowd: (batch, N) bool, `None` for none: boxes around objects that nobody told apart (or
            that are to be ignored for other reasons). They match no anchor.
        positive_iou: from this overlap on an anchor takes the object.
        negative_iou: below this one it is background; between the two it is ignored. By default
            `positive_iou`: nothing is between.
        force: whether each object gets an anchor at any overlap above 0. If two want the same one,
            it goes to that which overlaps more, and the other gets its next best.
        crowd_share: a background anchor of which at least this share lies in a crowd is ignored.

    Returns:
        (batch, anchors) int32: index of the object, `BACKGROUND` or `IGNORED`.

    Raises:
        ValueError: `negative_iou` is above `positive_iou`.
    """
    negative_iou = positive_iou if negative_iou is None else negative_iou
    if negative_iou > positive_iou:
        raise ValueError(
            f"negative_iou={negative_iou} must be at most positive_iou={positive_iou}: no anchor "
            "can be background and an object"
        )
    # One more row of padding: an image may have none, and a maximum over nothing is an error.
    boxes = tf.pad(tf.cast(boxes, "float32"), [[0, 0], [0, 1], [0, 0]])
    labels = tf.pad(tf.cast(labels, "int32"), [[0, 0], [0, 1]], constant_values=-1)
    crowd = tf.zeros_like(labels, "bool") if crowd is None else tf.pad(crowd, [[0, 0], [0, 1]])
    anchors = tf.convert_to_tensor(anchors, "float32")

    overlap = tf.where(((labels >= 0) & ~crowd)[..., None], iou(boxes, anchors), 0.0)
    best = tf.reduce_max(overlap, axis=1)
    matches = tf.where(best < negative_iou, BACKGROUND, IGNORED)
    matches = tf.where(
        _in_crowd(boxes, crowd & (labels >= 0), anchors, crowd_share), IGNORED, matches
    )
    positive = (best >= positive_iou) & (best > 0)
    matches = tf.where(positive, tf.argmax(overlap, axis=1, output_type="int32"), matches)
    return _with_best_anchors(overlap, matches) if force else matches


def _with_best_anchors(overlap, matches):
    """The matches, with an anchor for each object.

    What greedy choice of the largest overlap in the image gives, in fewer and larger steps: each
    object asks for its best anchor, each anchor keeps the one that overlaps it most, and those
    that were refused ask again elsewhere.

    Args:
        overlap: (batch, N, anchors), 0 where there is no object.
        matches: (batch, anchors).
    """
    anchors = tf.shape(overlap)[2]
    rows = tf.range(tf.shape(overlap)[1])

    def ask(overlap):
        wish = tf.argmax(overlap, axis=2, output_type="int32")
        asked = tf.one_hot(wish, anchors, on_value=True, off_value=False)
        asked &= overlap > 0
        return asked, tf.argmax(tf.where(asked, overlap, 0.0), axis=1, output_type="int32")

    def refused(overlap):
        asked, kept = ask(overlap)
        return asked & (kept[:, None, :] != rows[:, None])

    def is_open(_, losers):
        return tf.reduce_any(losers)

    def again(overlap, losers):
        overlap = tf.where(losers, 0.0, overlap)
        return overlap, refused(overlap)

    overlap, _ = tf.while_loop(is_open, again, (overlap, refused(overlap)))
    asked, kept = ask(overlap)
    return tf.where(tf.reduce_any(asked, axis=1), kept, matches)


def _in_crowd(boxes, crowd, anchors, share):
    """Whether so large a share of an anchor lies in a crowd: (batch, anchors)."""
    covered = tf.math.divide_no_nan(_intersection(boxes, anchors), _area(anchors)[None, None])
    return tf.reduce_any((covered >= share) & crowd[..., None], axis=1)


def _intersection(boxes, others):
    low = tf.maximum(boxes[..., :, None, :2], others[..., None, :, :2])
    high = tf.minimum(boxes[..., :, None, 2:], others[..., None, :, 2:])
    return tf.reduce_prod(tf.maximum(high - low, 0.0), axis=-1)


def _area(boxes):
    return tf.reduce_prod(tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0), axis=-1)
