"""Ending the log-in sessions of accounts."""

from __future__ import annotations

from collections.abc import Collection

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.utils import timezone


def end(accounts: Collection[int]) -> int:
    """End the sessions of accounts, by their ids, and those in which they visit others, for these lead back to them.

    Returns how many there were. Reads all that have not expired: what they hold is not to be searched for.
    """
    if not accounts:
        return 0
    wanted = {str(pk) for pk in accounts}
    ended = []
    for session in Session.objects.filter(expire_date__gt=timezone.now()).iterator():
        data = session.get_decoded()
        if not wanted.isdisjoint(str(pk) for pk in (data.get(SESSION_KEY), *data.get("hijack_history", ()))):
            ended.append(session.session_key)
    return Session.objects.filter(session_key__in=ended).delete()[0]
