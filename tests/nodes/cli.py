"""The command line: `python -m tests.nodes COMMAND`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from tests.nodes import doctor, image, packages, podman, state
from tests.nodes.errors import NodesError
from tests.nodes.fleet import Domain, Fleet, NodeSpec, Publish, fleets
from tests.nodes.spec import DEFAULT_RELEASE, RELEASES


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="python -m tests.nodes", description="Test nodes: Debian servers in containers.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, fleet: bool = True, node: bool = False) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        if fleet:
            sub.add_argument("--fleet", required=True, metavar="NAME")
        if node:
            sub.add_argument("node", metavar="NODE")
        return sub

    sub = command("image", "Build the node image of a Debian release, unless it is there.", fleet=False)
    sub.add_argument("--release", choices=RELEASES, default=DEFAULT_RELEASE)
    sub.add_argument("--rebuild", action="store_true", help="build even if it is there (newest packages)")

    sub = command("up", "Start a fleet, or add to it the nodes that it lacks.")
    sub.add_argument(
        "--node", action="append", default=[], type=_argument(NodeSpec.parse), metavar="NAME[:RELEASE]", required=True
    )
    sub.add_argument(
        "--publish", action="append", default=[], type=_argument(Publish.parse), metavar="NODE:HOSTPORT:PORT"
    )
    sub.add_argument("--domain", action="append", default=[], type=_argument(Domain.parse), metavar="NAME=NODE")
    sub.add_argument("--image", metavar="IMAGE", help="image for the nodes that are created (see snapshot)")
    sub.add_argument("--json", action="store_true", help="print the fleet's state")

    sub = command("run", "Run a command on this machine with the fleet's names resolving.")
    sub.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD")
    sub = command("exec", "Run a command in a node, as root.", node=True)
    sub.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD")
    sub = command("ssh", "Log in to a node, or run a command there over SSH.", node=True)
    sub.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD")
    sub = command("list", "List the fleets on this machine.", fleet=False)
    sub.add_argument("--json", action="store_true")
    sub = command("reboot", "Reboot a node; address and data stay.", node=True)
    sub.add_argument("--hard", action="store_true", help="as if the power had failed")
    command("pause", "Freeze a node: an unreachable server.", node=True)
    command("unpause", "Let a frozen node go on.", node=True)
    sub = command("snapshot", "Save a node as an image for up --image.", node=True)
    sub.add_argument("image", metavar="IMAGE")
    command("down", "Remove everything that belongs to a fleet.")
    command("doctor", "Print what was detected here, and what is missing.", fleet=False)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        return _run(args)
    except NodesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(args: argparse.Namespace) -> int:
    command = args.command
    if command == "image":
        packages.ensure()
        print(image.ensure(args.release, _log, args.rebuild))
        return 0
    if command == "list":
        return _list(args.json)
    if command == "doctor":
        return doctor.report()
    fleet = Fleet(args.fleet, log=_log)
    if command == "up":
        result = fleet.up(args.node, args.publish, args.domain, args.image)
        if args.json:
            print(state.dumps(result), end="")
        else:
            for node in result.nodes.values():
                print(f"{node.name}\t{node.address}\t{node.release}")
            print(f"inventory: {fleet.inventory}")
    elif command in ("run", "exec", "ssh"):
        return _pass_through(fleet, command, args)
    elif command == "reboot":
        fleet.reboot(args.node, args.hard)
    elif command == "pause":
        fleet.pause(args.node)
    elif command == "unpause":
        fleet.unpause(args.node)
    elif command == "snapshot":
        print(fleet.snapshot(args.node, args.image))
    elif command == "down":
        for line in fleet.down():
            _log(f"removed {line}")
    return 0


def _pass_through(fleet: Fleet, command: str, args: argparse.Namespace) -> int:
    """Run a command with this terminal's input and output; its exit code is ours."""
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    if not argv and command != "ssh":
        raise NodesError("No command is given.", f"Write it after --: {command} --fleet {fleet.name} … -- CMD")
    if command == "run":
        line = fleet.run_command(argv)
        os.execvp(line[0], line)
    if command == "ssh":
        line = fleet.ssh(args.node, *argv)
        os.execvp(line[0], line)
    options = ["--interactive"] + (["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else [])
    return subprocess.run(
        [*podman.command(), "exec", *options, fleet.node(args.node).container, *argv], check=False
    ).returncode


def _list(as_json: bool) -> int:
    found = fleets()
    if as_json:
        print(json.dumps(found, indent=2))
        return 0
    for entry in found:
        nodes = entry["nodes"]
        assert isinstance(nodes, list)
        listed = ", ".join(f"{node['name']} ({node['state']})" for node in nodes)
        print(f"{entry['fleet']}\t{entry['root']}\t{listed}")
    return 0


def _argument(parse: Callable[[str], object]) -> Callable[[str], object]:
    """A parser of ours as argparse wants it: errors become its own, with the usage."""

    def convert(text: str) -> object:
        try:
            return parse(text)
        except NodesError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def _log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
