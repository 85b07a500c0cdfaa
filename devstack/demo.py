"""What compose's demo runs: the stand-in external service, with the links that sign in before its log."""

from __future__ import annotations

import os

from devstack import external_service, links


def main() -> None:
    """Print the links and serve; the web process is ready by then, as compose sees to."""
    print(f"Rita is ready. {links.HEADING}", *links.sign_in_lines(os.environ), sep="\n", flush=True)
    external_service.main()


if __name__ == "__main__":
    main()
