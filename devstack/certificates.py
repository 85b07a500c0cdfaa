"""An authority of our own and its certificate for this machine, made anew for each run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import CertificateBuilder
from cryptography.x509.oid import NameOID

from devstack.child import LOOPBACK

NAME = "localhost"


@dataclass(frozen=True)
class Certificate:
    """Files: the authority, which clients trust, the certificate, its key, and both in one, as HAProxy wants them."""

    authority: Path
    certificate: Path
    key: Path
    both: Path


def create_certificate(directory: Path) -> Certificate:
    """Make an authority, whose key is forgotten, and a certificate that it signs."""
    signing_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    signer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of our own")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    of_signer = x509.SubjectKeyIdentifier.from_public_key(signing_key.public_key())
    authority = (
        _certificate_builder(signer, signer, key=signing_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .add_extension(of_signer, critical=False)
        .sign(signing_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(ip_address(LOOPBACK))])
    certificate = (
        _certificate_builder(name, signer, key=key)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(of_signer), critical=False)
        .sign(signing_key, hashes.SHA256())
    )
    made = Certificate(*(directory / f"{name}.pem" for name in ("authority", "certificate", "key", "both")))
    made.authority.write_bytes(authority.public_bytes(Encoding.PEM))
    made.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    made.both.write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    return made


def _certificate_builder(name: x509.Name, issuer: x509.Name, *, key: EllipticCurvePrivateKey) -> CertificateBuilder:
    now = datetime.now(UTC)
    return (
        CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    """Return what a key is for: Python 3.13 asks, too."""
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
