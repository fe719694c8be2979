"""Batch > Hidden: encoders and baselines that turn token ids into states and one vector a text."""
