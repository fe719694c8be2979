"""Tasks: what is learnt from examples and how a model's outputs become predictions, one record a task."""
