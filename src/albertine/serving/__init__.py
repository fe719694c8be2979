"""Models behind HTTP: one inference thread a model, micro-batches across requests, and limits that hold."""
