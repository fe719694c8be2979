"""The command line: parses, calls the Python function of the verb, prints what it returns."""

from albertine.settings import calm_threads

# libgomp reads its settings once, when torch is first imported, so this stands before every other import.
calm_threads()
