"""What others find open on a node: a scan of its TCP ports, run on another node."""

from __future__ import annotations

import json

from tests.nodes.fleet import Fleet

#: Run on the node that scans. A port that answers at all is told: refusing is an answer, too.
PROGRAM = """\
import errno, json, resource, select, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
size = max(min(hard, 8192) - 64, 64)
found = {"open": [], "refused": []}
address = sys.argv[1]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
last = int(sys.argv[2])
for first in range(1, last + 1, size):
    poll, links = select.poll(), {}
    for port in range(first, min(first + size, last + 1)):
        link = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        code = link.connect_ex((address, port))
        assert code in (0, errno.EINPROGRESS, errno.ECONNREFUSED), (port, code)
        links[link.fileno()] = (link, port)
        poll.register(link, select.POLLOUT)
    while ready := poll.poll(500):
        for number, _event in ready:
            link, port = links.pop(number)
            poll.unregister(number)
            code = link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            found["open" if code == 0 else "refused"].append(port)
            link.close()
    for link, _port in links.values():
        link.close()
print(json.dumps(found))
"""


def scan(fleet: Fleet, scanner: str, address: str, last: int = 65535) -> dict[str, list[int]]:
    """``{"open": [ports], "refused": [ports]}`` of an address up to ``last``, seen from the node ``scanner``."""
    said = fleet.exec(scanner, ["python3", "-c", PROGRAM, address, str(last)]).stdout
    found: dict[str, list[int]] = json.loads(said)
    return {kind: sorted(ports) for kind, ports in found.items()}
