"""A TensorFlow checkpoint's two files <-> records and tensors, as TensorFlow's own saver lays them out."""
