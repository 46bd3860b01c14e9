"""TFLite metadata: what an app must know of a file that its numbers do not say.

How pixels become the model's values, the names of the classes, what the outputs mean. MediaPipe
Tasks and the TFLite Task Library read them, on Android and iOS too:

    from tflite_tools import metadata
    task = metadata.ImageClassifier(labels=["cat", "dog"], mean=127.5, std=127.5)
    tflite_tools.convert(qmodel, "m.tflite", interface="uint8", metadata=task)
    metadata.write("other.tflite", task)  # into any file
    print(metadata.read("m.tflite"))

Metadata are a flatbuffer in the model (`tables` and `coding`), and files behind it (`archive`);
`tasks` has what each task says.
"""

from tflite_tools.metadata.calibration import ScoreCalibration
from tflite_tools.metadata.reading import Metadata, TensorNote, read
from tflite_tools.metadata.tasks import TASKS, ImageClassifier, ImageSegmenter, ObjectDetector
from tflite_tools.metadata.writing import Task, embed, write

__all__ = [
    "TASKS",
    "ImageClassifier",
    "ImageSegmenter",
    "Metadata",
    "ObjectDetector",
    "ScoreCalibration",
    "Task",
    "TensorNote",
    "embed",
    "read",
    "write",
]
