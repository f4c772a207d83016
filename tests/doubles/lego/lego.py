"""Stands in for lego 4.9 where there is no directory: takes its options, and leaves the files that it leaves.

It signs with the key and the certificate in ``LEGO_DOUBLE`` (a folder), and writes there what it was called with. Names
that begin with ``bad`` are refused as a directory does. It refuses what lego would: options it has not, a request or an
account that is not there, an account without e-mail or agreement; and where there is a file ``bound`` in that folder,
as with a directory that takes bound accounts only, whoever does not say that the account is to be one.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

PROBLEM = """2026/01/01 10:00:00 [INFO] acme: Registering account for {email}
2026/01/01 10:00:01 [INFO] [{name}] acme: Trying to solve HTTP-01
2026/01/01 10:00:02 Could not obtain certificates:
\terror: one or more domains had a problem:
[{name}] acme: error: 403 :: urn:ietf:params:acme:error:unauthorized :: Invalid response, url:
"""


def parser() -> argparse.ArgumentParser:
    """Of lego's options, those that are known here."""
    made = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("--server", "--email", "--path", "--csr", "--http.webroot", "--dns"):
        made.add_argument(name)
    for name in ("--http-timeout", "--cert.timeout"):
        made.add_argument(name, type=int)
    for name in ("--domains", "--dns.resolvers"):
        made.add_argument(name, action="append")
    for name in ("--accept-tos", "--http", "--eab", "--dns.disable-cp"):
        made.add_argument(name, action="store_true")
    commands = made.add_subparsers(dest="command", required=True)
    commands.add_parser("run")
    revoke = commands.add_parser("revoke")
    revoke.add_argument("--keep", action="store_true")
    revoke.add_argument("--reason", type=int, default=0)
    return made


def main() -> None:
    """Do as lego does."""
    options = parser().parse_args()
    home = Path(os.environ["LEGO_DOUBLE"])
    environment = sorted(name for name in os.environ if name.startswith(("STREAMFLEET_", "LEGO_CA", "EXEC_")))
    with (home / "calls").open("a") as stream:
        stream.write(json.dumps({"argv": sys.argv[1:], "environment": environment}) + "\n")
    if not options.email or not options.accept_tos:
        sys.exit("You have to pass an account (email address) to the program using --email or -m")
    if (home / "bound").exists() and not options.eab:
        sys.exit("Server requires External Account Binding. Use --eab with --kid and --hmac.")
    path = Path(options.path)
    account = path / "accounts" / urlsplit(options.server).netloc.replace(":", "_") / options.email / "account.json"
    if options.command == "revoke":
        if not account.exists():
            sys.exit("Account is not registered. Use 'run' to register a new account.")
        chain = (path / "certificates" / f"{options.domains[0]}.crt").read_bytes()
        serial = x509.load_pem_x509_certificate(chain).serial_number
        with (home / "revoked").open("a") as stream:
            stream.write(f"{serial} {options.reason}\n")
        return
    if not (options.http or options.dns):
        sys.exit("No challenge selected. You must specify at least one challenge: `--http`, `--tls`, `--dns`.")
    request = x509.load_pem_x509_csr(Path(options.csr).read_bytes())
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    name = names.value.get_values_for_type(x509.DNSName)[0]
    if not account.exists():
        if options.eab:
            sys.exit("Requires arguments --kid and --hmac.")
        account.parent.mkdir(parents=True)
        account.write_text("{}")
    if name.startswith("bad"):
        sys.stderr.write(PROBLEM.format(name=name, email=options.email))
        sys.exit(1)
    (path / "certificates").mkdir(exist_ok=True)
    for kind, content in (("crt", _sign(home, request, names)), ("issuer.crt", (home / "ca.pem").read_bytes())):
        (path / "certificates" / f"{name.replace('*', '_')}.{kind}").write_bytes(content)


def _sign(home: Path, request: x509.CertificateSigningRequest, names: x509.Extension) -> bytes:
    issuer = x509.load_pem_x509_certificate((home / "ca.pem").read_bytes())
    key = serialization.load_pem_private_key((home / "ca.key").read_bytes(), None)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=90))
        .add_extension(names.value, critical=True)
        .sign(key, hashes.SHA256())  # type: ignore[arg-type]
    )
    return made.public_bytes(serialization.Encoding.PEM) + (home / "ca.pem").read_bytes()


if __name__ == "__main__":
    main()
