"""The Celery applications: one that delivers webhooks and keeps house, one that applies status messages."""
