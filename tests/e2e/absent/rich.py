"""Not installed in production: structlog loads it where tools of development bring it, an eighth of each start."""

raise ModuleNotFoundError("rich is not installed in production", name="rich")
