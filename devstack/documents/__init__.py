"""Whether the documents name what exists: their links, paths, names, commands and code blocks.

`python -m devstack.documents`, part of `make check`, prints a line for each thing that does not. What the network serves is
not fetched; blocks of TypeScript and JavaScript are compiled by `tests/devstack/test_documents.py`, which has a compiler.
"""
