"""Plays Rita against somebody's external service and judges what comes back: `python -m devstack.conformance`."""
