"""`flask --app app seal-keys rotate` and `flask --app app token`: secrets for operators, printed and stored nowhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import click
import jwt
from cryptography.fernet import Fernet
from flask.cli import with_appcontext

from app import extensions
from app.cli.output import OperatorCommand, OperatorCommandGroup

seal_keys = OperatorCommandGroup("seal-keys", help="The keys that seal credentials on their way.")


@seal_keys.command()
def rotate() -> None:
    """Print SEAL_KEYS with a new key in front. Set it, restart webhook_worker, then web; nothing is changed here."""
    kept = extensions.settings().seal_keys
    click.echo(",".join([Fernet.generate_key().decode(), *kept]))
    advice = "Set this as SEAL_KEYS, restart webhook_worker, then web; drop the old keys two minutes later."
    click.echo(advice, err=True)


@click.command(cls=OperatorCommand)
@click.option("--organization", required=True, type=click.UUID, help="The id of the organization it acts for.")
@click.option("--email", required=True, help="The user's address, as the audit trail will show it.")
@click.option(
    "--role",
    type=click.Choice(["member", "admin", "owner"]),
    default="member",
    show_default=True,
    help="What the user may do.",
)
@click.option("--user", type=click.UUID, default=None, help="The user's id; a new one if left out.")
@click.option(
    "--minutes", type=click.IntRange(1, 24 * 60), default=60, show_default=True, help="For how many minutes it is good."
)
@with_appcontext
def token(*, organization: UUID, email: str, role: str, user: UUID | None, minutes: int) -> None:
    """Print an access token, to try things with; only where tokens are verified with JWT_SECRET."""
    settings = extensions.settings()
    if settings.jwt_secret is None:
        raise click.ClickException(
            "JWT_SECRET is not set here: where tokens are verified with a public key, only its owner can make one"
        )
    user = user or uuid4()
    try:
        claims = settings.claim_rules.build_claims(user=user, email=email, organization=organization, role=role)
    except ValueError as problem:
        raise click.ClickException(f"No token can be made: {problem}") from None
    expires_at = datetime.now(UTC) + timedelta(minutes=minutes)
    besides = {"exp": expires_at, "aud": settings.jwt_audience, "iss": settings.jwt_issuer}
    claims |= {name: value for name, value in besides.items() if value is not None}
    click.echo(jwt.encode(claims, settings.jwt_secret))
