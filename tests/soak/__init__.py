"""`make soak`: a whole Rita under a mixed load for an hour, with faults, and what grew meanwhile."""
