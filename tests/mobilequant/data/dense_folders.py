"""Small folders as COCO and VOC have them, and data sets in TFDS's format."""

import json

import numpy as np
import tensorflow as tf
from PIL import Image

HEIGHT, WIDTH = 20, 30


def save_image(path, height=HEIGHT, width=WIDTH, mode="RGB", seed=0):
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def coco_folder(root, parts=("train2017", "val2017"), images=3, change=None, folder="{}"):
    """Three images a part; the first has two objects, the second a crowd, the third none."""
    for part in parts:
        content = {
            "images": [
                {"id": 10 + n, "file_name": f"{part}{n}.png", "height": HEIGHT, "width": WIDTH}
                for n in range(images)
            ],
            # Ids with gaps and in no order, as COCO's.
            "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
            "annotations": [
                annotation(1, 10, 18, [6, 4, 12, 10]),
                annotation(2, 10, 3, [0, 0, 3, 5]),
                annotation(3, 11, 3, [15, 10, 10, 5], iscrowd=1),
            ],
        }
        if change:
            change(content)
        path = root / "annotations" / f"instances_{part}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        for n in range(images):
            save_image(root / folder.format(part) / f"{part}{n}.png", seed=n)
    return root


def annotation(number, image, category, box, iscrowd=0):
    """An object that fills its box; a crowd's shape is in run lengths, another's a polygon."""
    left, top, wide, high = box
    right, bottom = left + wide, top + high
    shape = [[left, top, right, top, right, bottom, left, bottom]]
    if iscrowd:
        mask = np.zeros((HEIGHT, WIDTH), int)
        mask[top:bottom, left:right] = 1
        ends = np.flatnonzero(np.diff(mask.T.ravel(), prepend=0)).tolist()
        shape = {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *ends, HEIGHT * WIDTH]).tolist()}
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": box,
        "area": wide * high,
        "iscrowd": iscrowd,
        "segmentation": shape,
    }


def voc_xml(objects, height=HEIGHT, width=WIDTH):
    """An annotation; an object is (name, xmin, ymin, xmax, ymax) and perhaps `difficult`."""
    texts = "".join(
        f"<object><name>{name}</name><difficult>{int(bool(rest))}</difficult><bndbox>"
        f"<xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax>"
        "</bndbox><part><name>head</name></part></object>"
        for name, *box, rest in ([*o, False] if len(o) == 5 else o for o in objects)
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>{size}{texts}</annotation>"


def voc_folder(root, names=("dog", "car"), count=6, lists=True):
    """Image n has one object of a class, and image 0 a difficult one as well."""
    (root / "Annotations").mkdir(parents=True)
    for n in range(count):
        save_image(root / "JPEGImages" / f"{n:03}.png", seed=n)
        objects = [(names[n % len(names)], 7, 5, 18, 14)]
        if n == 0:
            objects.append((names[0], 1, 1, 3, 5, True))
        (root / "Annotations" / f"{n:03}.xml").write_text(voc_xml(objects))
    if lists:
        voc_lists(root, "Main", count)
    return root


def voc_masks(root, count=6, lists=True):
    """Palette masks: class 12 in a rectangle with a void border."""
    (root / "SegmentationClass").mkdir(parents=True)
    for n in range(count):
        save_image(root / "JPEGImages" / f"{n:03}.png", seed=n)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[4:14, 6:18] = 255
        mask[5:13, 7:17] = 12
        image = Image.fromarray(mask, "P")
        image.putpalette(np.arange(768).astype(np.uint8).tobytes())
        image.save(root / "SegmentationClass" / f"{n:03}.png")
    if lists:
        voc_lists(root, "Segmentation", count)
    return root


def voc_lists(root, kind, count):
    """The last two images are for validation."""
    folder = root / "ImageSets" / kind
    folder.mkdir(parents=True)
    stems = [f"{n:03}" for n in range(count)]
    (folder / "train.txt").write_text("\n".join(stems[:-2]))
    (folder / "val.txt").write_text("\n".join(f"{stem}  1" for stem in stems[-2:]) + "\n")


def store_tfds(data_dir, name, features, version="1.0.0", **parts):
    """Writes lists of examples as a data set of TFDS."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(features)
    spec = features.get_tensor_spec()

    def tensors(values, kinds):
        if isinstance(kinds, dict):
            return {key: tensors(values[key], kind) for key, kind in kinds.items()}
        return tf.constant(values, kinds.dtype)

    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version=version,
        features=features,
        data_dir=data_dir,
        split_datasets={
            part: tf.data.Dataset.from_generator(
                lambda rows=rows: (tensors(row, spec) for row in rows), output_signature=spec
            )
            for part, rows in parts.items()
        },
    )
