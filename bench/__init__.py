"""This product beside named peers, in one run on one machine. Start with `make bench`; see docs/performance.md."""
