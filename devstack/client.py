"""The types of docs/client, generated from the OpenAPI document: `python -m devstack.client` writes them, with npm."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from app.api import openapi
from app.domain import source_types
from devstack.offline_application import create_offline_application

CLIENT = Path(__file__).resolve().parent.parent / "docs" / "client"
SCHEMA = CLIENT / "schema.ts"


def document() -> str:
    """Return the OpenAPI document of an installation that offers every known type."""
    app = create_offline_application(enabled_data_source_types=tuple(source_types.OPTIONAL_TYPES))
    with app.app_context():
        return json.dumps(openapi.openapi_document(app))


def generate(folder: Path) -> str:
    """Return the types, generated in a copy of docs/client whose packages are installed."""
    (folder / "openapi.json").write_text(document())
    subprocess.run(["npm", "run", "--silent", "generate", "--", "openapi.json"], cwd=folder, check=True)
    return (folder / "schema.ts").read_text()


def main() -> None:
    """Write the types."""
    with tempfile.TemporaryDirectory(prefix="rita-client-") as made:
        folder = Path(made)
        for name in ("package.json", "generate.js"):
            shutil.copy(CLIENT / name, folder)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, check=True)
        SCHEMA.write_text(generate(folder))


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m devstack.client", description=__doc__).parse_args()
    main()
