"""Training methods: wrappers of a loss, and changes of what is trained, which the loop knows nothing of."""
