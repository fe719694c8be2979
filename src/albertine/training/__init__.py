"""A task and its data into a trained model: the loop, its schedule, optimizer, checkpoints, and whole runs."""
