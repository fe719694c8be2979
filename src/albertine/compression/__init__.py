"""A trained model to a smaller or a faster one that does the same, measured."""
