"""tflite_tools: a quantized Keras model in, a verified `.tflite` file out."""
