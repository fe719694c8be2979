"""The command line: parses, calls the Python function of the verb, prints what it returns."""

from albertine.settings import prepare_computing

# libgomp reads its setting once, when torch is first imported, so this stands before every other import.
prepare_computing()
