"""What leaves this process: webhooks, encrypted credentials, events, and the broker."""
