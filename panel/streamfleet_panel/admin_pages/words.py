"""Names and explanations of fields, as a form says them."""

from __future__ import annotations

LABELS = {
    "username": "User name",
    "email": "E-mail",
    "djs_first": "DJs first",
    "ssh_port": "SSH port",
    "ssh_user": "SSH user",
    "max_bitrate_kbps": "Max bitrate (kbit/s)",
    "monthly_transfer_mb": "Monthly transfer (MB)",
    "disk_quota_mb": "Disk quota (MB)",
    "max_transcode_mpixels": "Max megapixels encoded in a second",
}
# What the API calls null is an empty field here; true and false are switches.
_PHRASES = (
    ("null = unlimited", "Empty: unlimited"),
    ("null = all", "None ticked: all"),
    ("null = not by itself", "Empty: not by itself"),
    ("null = not counted", "Empty: not counted"),
    ("null = none", "Empty: none"),
    ("null = any", "Empty: any"),
    ("false: ", "Off: "),
    ("true: ", "On: "),
)


def explained(description: str) -> str:
    """The description of a field of the API, said for a form."""
    for of_api, of_form in _PHRASES:
        description = description.replace(of_api, of_form)
    return description[:1].upper() + description[1:]
