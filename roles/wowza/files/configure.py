"""Set in Wowza's own configuration what Streamfleet owns, and leave the rest: ``configure SETTINGS [--check]``.

SETTINGS is what settings.json of /etc/streamfleet/wowza is to hold; secrets are read there. Prints each file that it
changes, or would change; one that is not as the vendor's documentation says: exit code 3, the reason on stderr.
"""

import copy
import grp
import json
import os
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

PLACE = Path("/etc/streamfleet/wowza")
GROUP = "streamfleet-wowza"
#: The vendor's fallback for an application without a file of its own, which must not open anything.
NOTHING = """<?xml version="1.0" encoding="UTF-8"?>
<Root version="1">
  <Application>
    <Name />
    <AppType>Live</AppType>
    <Description />
    <Connections>
      <AutoAccept>false</AutoAccept>
      <AllowDomains />
    </Connections>
  </Application>
</Root>
"""


class Refused(Exception):
    """A file is not what it should be."""


def read(path: Path) -> ET.Element:
    """The file as XML, its comments with it. Raises Refused."""
    try:
        # Files that only root writes, made by a program that root has run.
        return ET.parse(path, ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))).getroot()  # noqa: S314
    except (OSError, ET.ParseError) as error:
        raise Refused(f"{path} cannot be read: {error}") from None


def put(root: ET.Element, path: str, text: str, file: Path) -> None:
    """Set the text of the one element at ``path``; its parent must be there. Raises Refused."""
    found = root.findall(path)
    if len(found) > 1:
        raise Refused(f"{file} has {path} {len(found)} times")
    if not found:
        above, _slash, name = path.rpartition("/")
        parent = root.find(above)
        if parent is None:
            raise Refused(f"{file} has no {above}. Is it a Wowza Streaming Engine 4?")
        found = [ET.SubElement(parent, name)]
    if list(found[0]):
        raise Refused(f"{file} has elements in {path}, where a text should be")
    found[0].text = text


def server(settings: "dict[str, object]", file: Path) -> str:
    """Server.xml: REST for this host alone, and nothing else that listens for others."""
    root = read(file)
    rest = "Server/RESTInterface"
    put(root, f"{rest}/Enable", "true", file)
    put(root, f"{rest}/IPAddress", "127.0.0.1", file)
    put(root, f"{rest}/Port", str(settings["rest_port"]), file)
    put(root, f"{rest}/AuthenticationMethod", "basic", file)
    put(root, f"{rest}/IPWhiteList", "127.0.0.1", file)
    put(root, f"{rest}/DocumentationServerEnable", "false", file)
    if root.find("Server/CommandInterface/HostPort") is not None:
        put(root, "Server/CommandInterface/HostPort/IpAddress", "127.0.0.1", file)
    return text(root)


def virtual_host(settings: "dict[str, object]", file: Path) -> str:
    """VHost.xml: a port for RTMP, to the world; on loopback one for HLS, where the web server asks, and one for RTMP.

    The last is for what plays channels by itself, which finds it on every node.
    """
    root = read(file)
    ports = root.find("VHost/HostPortList")
    streaming = (
        [port for port in ports.findall("HostPort") if port.findtext("Type") == "Streaming"]
        if ports is not None
        else []
    )
    if ports is None or not streaming:
        raise Refused(f"{file} has no HostPort of the type Streaming")
    for port in ports.findall("HostPort"):
        if port in streaming:
            ports.remove(port)
        else:
            put(port, "./IpAddress", "127.0.0.1", file)
    for place, (name, address, number, adapters) in enumerate(
        (
            ("Streamfleet RTMP", "*", settings["port"], ""),
            ("Streamfleet HLS", "127.0.0.1", settings["hls_port"], "cupertinostreaming"),
            ("Streamfleet TV", "127.0.0.1", settings["tv_port"], ""),
        )
    ):
        made = copy.deepcopy(streaming[0])
        for unwanted in ("SSLConfig", "HTTPProviders"):
            for element in made.findall(unwanted):
                made.remove(element)
        put(made, "./Name", name, file)
        put(made, "./IpAddress", address, file)
        put(made, "./Port", str(number), file)
        put(made, "./HTTPStreamerAdapterIDs", adapters, file)
        ET.SubElement(made, "HTTPProviders")
        ports.insert(place, made)
    return text(root)


def virtual_hosts(settings: "dict[str, object]", file: Path) -> str:
    """VHosts.xml: the one virtual host, in a folder of Streamfleet."""
    root = read(file)
    found = root.findall("VHosts/VHost")
    if len(found) != 1 or found[0].findtext("Name") != "_defaultVHost_":
        raise Refused(f"{file} has other virtual hosts than _defaultVHost_. Streamfleet needs a Wowza of its own")
    put(root, "VHosts/VHost/ConfigDir", str(settings["vhost"]), file)
    return text(root)


def tuning(settings: "dict[str, object]", file: Path) -> str:
    """Tune.xml: the size of the Java heap."""
    root = read(file)
    put(root, "Tune/HeapSize", str(settings["heap"]), file)
    return text(root)


def text(root: ET.Element) -> str:
    """The file's new text."""
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def wanted(settings: "dict[str, object]") -> "dict[Path, str]":
    """Every file that Streamfleet owns something in, as it shall be. Raises Refused, OSError."""
    conf, own = Path(str(settings["home"])) / "conf", Path(str(settings["vhost"])) / "conf"
    password = (PLACE / "rest-password").read_text().strip()
    return {
        conf / "Server.xml": server(settings, conf / "Server.xml"),
        conf / "VHosts.xml": virtual_hosts(settings, conf / "VHosts.xml"),
        conf / "Tune.xml": tuning(settings, conf / "Tune.xml"),
        conf / "Server.license": (PLACE / "licence").read_text(),
        conf / "admin.password": f"streamfleet {password} admin|advUser\n",
        own / "VHost.xml": virtual_host(settings, conf / "VHost.xml"),
        own / "Application.xml": NOTHING,
    }


def write(path: Path, content: str) -> None:
    """Put the file into its place, whole or not at all, for Wowza's user to read."""
    new = path.with_name(f".{path.name}.streamfleet-new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(content)
        stream.flush()
        os.fchown(descriptor, 0, grp.getgrnam(GROUP).gr_gid)
        os.fchmod(descriptor, 0o640)
        os.fsync(descriptor)
    new.replace(path)


def main() -> int:
    """Command line."""
    try:
        files = wanted(json.loads(sys.argv[1]))
    except (Refused, OSError) as error:
        print(f"{error}.", file=sys.stderr)
        return 3
    for path, content in files.items():
        if path.is_file() and path.read_text() == content:
            continue
        print(path)
        if "--check" not in sys.argv[2:]:
            write(path, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
