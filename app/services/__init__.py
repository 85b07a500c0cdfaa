"""The service layer: rules and rows. Services flush, never commit, and know neither HTTP nor queues."""
