"""Command line of ``streamfleet``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from . import control, host, logs, status, users
from .errors import NOT_ROOT, USAGE, CommandFailed


def parser() -> argparse.ArgumentParser:
    """What can be typed."""
    top = argparse.ArgumentParser(prog="streamfleet", description="Operate Streamfleet on the panel's host.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser("status", help="whether all is well; exit code 0 or 1")
    command.add_argument("--json", action="store_true", help="as JSON")
    for verb, help_ in (
        ("start", "start the panel's processes"),
        ("stop", "stop the panel's processes; streams go on, but for what comes by the web server"),
        ("restart", "restart the panel's processes; the web server takes over new settings and drops nobody"),
    ):
        command = commands.add_parser(verb, help=help_)
        command.add_argument("component", nargs="?", choices=[*control.COMPONENTS, "all"], default="all")
        command.add_argument("--engines", action="store_true", help="media services on this host, too")
        command.add_argument("--yes", action="store_true", help="do not ask, though somebody is on the air")
    command = commands.add_parser("logs", help="what units have logged")
    command.add_argument("what", nargs="?", metavar="UNIT|SLUG", help="panel, worker, web, a unit, or a media service")
    command.add_argument("-f", "--follow", action="store_true", help="go on until it is interrupted")
    command.add_argument("-n", "--lines", type=_number, default=100, metavar="N", help="how many lines (100)")
    user = commands.add_parser("user", help="accounts").add_subparsers(dest="action", required=True, metavar="ACTION")
    command = user.add_parser("reset", help="set a new password, which ends the account's sessions")
    command.add_argument("username")
    command.add_argument(
        "--password-stdin", action="store_true", help="the password is the first line of standard input"
    )
    command.add_argument("--output", type=Path, metavar="FILE", help="have a new one made into this file, mode 0600")
    command.add_argument("--revoke-tokens", action="store_true", help="API tokens stop working, but for install.yml's")
    command.add_argument("--administrator", action="store_true", help="refuse an account that is no administrator")
    command.add_argument("--dry-run", action="store_true", help="only say what would happen")
    command.add_argument("--json", action="store_true", help="as JSON, without the password")
    commands.add_parser("version", help="the release that is installed")
    return top


def _number(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1000000")
    return number


def run(options: argparse.Namespace) -> int:
    """Do what was typed; the exit code. Raises CommandFailed."""
    if options.command == "version":
        print(host.release() or "none is installed")
        return 0
    if os.geteuid() != 0:
        raise CommandFailed("run this as root; it asks systemd and reads the panel's secrets", NOT_ROOT)
    if options.command == "status":
        return status.run(as_json=options.json)
    if options.command == "logs":
        return logs.run(options.what, follow=options.follow, lines=options.lines)
    if options.command == "user":
        if options.password_stdin and options.output:
            raise CommandFailed("--output is for a password that is made; leave it out with --password-stdin", USAGE)
        if options.json and not options.output and not options.password_stdin and not options.dry_run:
            raise CommandFailed("--json shows no password: add --output FILE or --password-stdin", USAGE)
        return users.reset(
            options.username,
            password=sys.stdin.readline().rstrip("\n") if options.password_stdin else None,
            output=options.output,
            revoke_tokens=options.revoke_tokens,
            administrator=options.administrator,
            dry_run=options.dry_run,
            as_json=options.json,
        )
    return control.run(options.command, options.component, engines=options.engines, yes=options.yes)


def main() -> int:
    """Command line."""
    try:
        return run(parser().parse_args())
    except CommandFailed as error:
        print(f"streamfleet: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
