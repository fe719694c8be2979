"""Folders <-> named tensors: model folders read and written, in our own form and in Hugging Face's."""
