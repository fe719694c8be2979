"""Folders <-> named tensors: every BERT and ALBERT checkpoint opened, and written in every format."""
