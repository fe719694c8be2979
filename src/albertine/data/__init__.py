"""Hands on examples: files of any format read, checked and split, each row with the file and line it came from."""
