"""What leaves this process: webhooks, sealed credentials, events, and the broker."""
