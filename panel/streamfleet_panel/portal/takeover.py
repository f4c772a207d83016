"""Logging in as a customer: every beginning and end goes into the audit log."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest
from hijack import signals
from hijack.views import AcquireUserView

from streamfleet_panel.access import accounts, actor_of, actor_of_request
from streamfleet_panel.apply.execute import audit_entry
from streamfleet_panel.models import Account


class Acquire(AcquireUserView):
    """Log in as somebody in one's reach. Who is not in it does not exist, as everywhere."""

    def get_object(self, queryset: Any = None) -> Account:
        """The account that is asked for. Raises Http404."""
        wanted = self.request.POST["user_pk"]
        found = None
        if wanted.isascii() and wanted.isdecimal() and len(wanted) < 19:
            found = accounts(actor_of_request(self.request)).filter(pk=int(wanted)).first()
        if found is None:
            raise Http404("There is no such account")
        return found


def hijacker_of(request: HttpRequest) -> Account | None:
    """The account behind a session that was taken over, as it is now; None where nobody took it over."""
    history = request.session.get("hijack_history") or []
    if not history:
        return None
    return Account.objects.select_related("reseller").filter(pk=history[0]).first()


def is_taken_over(request: HttpRequest) -> bool:
    """Somebody else acts in this session."""
    return bool(request.session.get("hijack_history"))


def _started(request: HttpRequest, hijacker: Account, hijacked: Account, **kwargs: Any) -> None:
    _record(request, hijacker, hijacked, "hijack")
    messages.info(request, f"You are now logged in as {hijacked.username}.")


def _ended(request: HttpRequest, hijacker: Account, hijacked: Account, **kwargs: Any) -> None:
    _record(request, hijacker, hijacked, "release")


def _record(request: HttpRequest, hijacker: Account, hijacked: Account, action: str) -> None:
    actor = actor_of(hijacker, ip=request.META.get("REMOTE_ADDR", ""), via="portal")
    audit_entry(actor, action, "customer", hijacked.username, owner=hijacked).save()


def connect() -> None:
    """Listen to hijack's signals."""
    signals.hijack_started.connect(_started, dispatch_uid="streamfleet.takeover.started")
    signals.hijack_ended.connect(_ended, dispatch_uid="streamfleet.takeover.ended")
