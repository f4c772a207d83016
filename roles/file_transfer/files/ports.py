"""Name who else listens on the ports that are to be ours: ports.py FTPS SFTP FIRST_PASSIVE LAST_PASSIVE."""

import re
import subprocess
import sys

OURS = "proftpd"


def main() -> None:
    """Print one line for each."""
    ftps, sftp, first, last = (int(argument) for argument in sys.argv[1:5])
    lines = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout.splitlines()
    told = set()
    for line in lines:
        fields = line.split()
        port = int(fields[3].rpartition(":")[2])
        owner = re.search(r'users:\(\("([^"]*)"', line)
        name = owner[1] if owner else "a program without a name"
        taken = port in (ftps, sftp) or first <= port <= last
        if taken and name != OURS and (port, name) not in told:
            told.add((port, name))
            print(f"port {port} is taken by {name}")


if __name__ == "__main__":
    main()
