"""Encoded texts into batches: packed or padded, by a budget of tokens, and the batch of every training step."""
