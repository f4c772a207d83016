"""Whether an ACME directory can be used at all, asked once before any name is tried there."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS = 20.0
LARGEST = 1 << 16


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A directory is where its operator says."""

    def redirect_request(self, *_arguments: object, **_named: object) -> None:
        """None: it is an error."""


def opener(settings: Mapping[str, Any], authorities: Path) -> urllib.request.OpenerDirector:
    """What asks it. ``authorities``: those of its own TLS, where they are not the system's."""
    context = ssl.create_default_context(cafile=str(authorities) if settings.get("directory_ca") else None)
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect)


def request(url: str, body: bytes | None = None) -> urllib.request.Request:
    """A request, with a signed body or none. Raises ValueError for what is no https."""
    if not url.startswith("https://"):
        raise ValueError(f"{url} is not https")
    headers = {"User-Agent": "streamfleet-acme", **({"Content-Type": "application/jose+json"} if body else {})}
    return urllib.request.Request(url, body, headers)  # noqa: S310  (https, as seen)


def fault(settings: Mapping[str, Any], authorities: Path) -> str | None:
    """Why it cannot be; None where it can. ``authorities``: those of its own TLS, where they are not the system's."""
    url = settings["directory"]
    try:
        with opener(settings, authorities).open(request(url), timeout=SECONDS) as answer:
            found = json.loads(answer.read(LARGEST))
        orders, meta = found["newOrder"], found.get("meta") or {}
        bound = bool(meta.get("externalAccountRequired"))
    except urllib.error.HTTPError as error:
        return f"the directory {url} answers with {error.code}; is that its address, or is it down?"
    except (ValueError, TypeError, KeyError, AttributeError):
        return f"{url} is not an ACME directory: what it answers names no newOrder"
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        return f"the directory {url} cannot be reached: {reason}"
    if not str(orders).startswith("https://"):
        return f"{url} is not an ACME directory: its newOrder is not https"
    if bound and not settings.get("eab"):
        return (
            f"the directory {url} takes only accounts that are bound to one of its own: set "
            "streamfleet_certificates_acme_eab_key_id and streamfleet_certificates_acme_eab_hmac"
        )
    return None
