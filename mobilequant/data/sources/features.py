"""The features of a TFDS data set by path."""

import tensorflow_datasets as tfds


def flattened(features) -> dict:
    """From `objects/bbox` and the like to the feature, through sequences of dictionaries.

    Args:
        features: `builder.info.features`.
    """
    result = {}
    for name, feature in features.items():
        inner = feature
        if isinstance(feature, tfds.features.Sequence):
            inner = feature.feature
        if isinstance(inner, tfds.features.FeaturesDict):
            result |= {f"{name}/{path}": leaf for path, leaf in flattened(inner).items()}
        else:
            result[name] = inner
    return result


def at(example: dict, path: str):
    """The value at a path of an example. A name may hold `/` itself, as `image/filename` does."""
    if path in example:
        return example[path]
    first, _, rest = path.partition("/")
    return at(example[first], rest)
