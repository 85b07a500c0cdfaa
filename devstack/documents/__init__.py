"""Whether the documents name what exists: their links, paths, names, commands and code blocks.

`python -m devstack.documents`, part of `make check`, prints a line for each thing that does not. What the network
serves is not fetched; `tests/devstack/test_documents.py` compiles blocks of TypeScript and JavaScript.
"""
