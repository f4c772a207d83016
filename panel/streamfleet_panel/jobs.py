"""Jobs: taken one by one by the jobs process."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.core.mail import EmailMessage
from django.db import DatabaseError, transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from streamfleet_panel import access, white_label
from streamfleet_panel.apply.problems import ApiError
from streamfleet_panel.apply.run import apply_document
from streamfleet_panel.models import Account, Job

log = logging.getLogger("streamfleet_panel.jobs")
_PROGRESS_EVERY = timedelta(seconds=1)


def requeue_orphans(*, everything: bool = False) -> int:
    """Make running jobs pending again whose process is gone; ``everything``: at the start, when none can be running."""
    orphans = Job.objects.filter(state=Job.State.RUNNING)
    if not everything:
        orphans = orphans.filter(heartbeat_at__lt=timezone.now() - timedelta(minutes=5))
    return orphans.update(state=Job.State.PENDING, done=0)


def run_next() -> bool:
    """Do the oldest waiting job; False where none waits (looking takes no lock)."""
    if not Job.objects.filter(state=Job.State.PENDING).exists():
        return False
    with transaction.atomic():
        job = Job.objects.select_for_update().filter(state=Job.State.PENDING).order_by("created_at").first()
        if job is None:
            return False
        job.state, job.heartbeat_at = Job.State.RUNNING, timezone.now()
        job.save(update_fields=["state", "heartbeat_at"])
    result: Any = None
    error: dict[str, Any] | None = None
    try:
        result = _WORK[Job.Kind(job.kind)](job)
    except DatabaseError:
        # Nothing was written; it waits for its next turn.
        Job.objects.filter(pk=job.pk).update(state=Job.State.PENDING, done=0)
        raise
    except ApiError as refused:
        error = refused.as_dict()["error"]
    except Exception as failure:
        log.error("Job %s failed: %s", job.pk, type(failure).__name__, exc_info=failure)
        error = {"code": "internal_error", "message": "The job failed; the panel's log says why", "errors": []}
    Job.objects.filter(pk=job.pk).update(
        state=Job.State.SUCCEEDED if error is None else Job.State.FAILED,
        result=result,
        error=error,
        payload_encrypted="",
        finished_at=timezone.now(),
        done=job.total if error is None else job.done,
    )
    return True


def _apply(job: Job) -> dict[str, Any]:
    """The document as its author would apply it now: the author may have lost the right meanwhile."""
    # Imported here: the API imports the models of this module's package.
    from streamfleet_panel.api.objects import options_of

    payload = job.payload
    origin = {name: payload.pop(name) for name in ("token_id", "ip", "via")}
    author = job.requested_by_id or 0
    account = Account.objects.select_related("reseller", "reseller_plan").filter(pk=author).first()
    if account is None or not account.is_enabled:
        raise ApiError("account_disabled", "The account that asked for this is disabled or gone")
    actor = replace(access.actor_of(account), **origin)
    last = timezone.now()

    def progress(done: int) -> None:
        nonlocal last
        now = timezone.now()
        if now - last >= _PROGRESS_EVERY:
            last, job.done = now, done
            Job.objects.filter(pk=job.pk).update(done=done, heartbeat_at=now)

    outcome = apply_document(payload["document"], actor, options_of(payload), progress=progress)
    assert outcome is not None  # a job defers nothing
    return outcome.as_dict()


def _welcome(job: Job) -> dict[str, Any]:
    """Send the welcome mail. It never carries a password."""
    found = Account.objects.select_related("reseller").filter(pk=job.payload["account"], deleted_at=None)
    return _mail(found.first(), "streamfleet_panel/mail/welcome.txt", {})


def _password_reset(job: Job) -> dict[str, Any]:
    """Send the link to a new password. It is made here and now, so no job ever holds one."""
    account = Account.objects.select_related("reseller").filter(pk=job.payload["account"]).first()
    if account is None or not account.is_enabled:
        raise ApiError("account_disabled", "The account is disabled or gone")
    where = {
        "uidb64": urlsafe_base64_encode(force_bytes(account.pk)),
        "token": default_token_generator.make_token(account),
    }
    # Of the settings or of the database, never the host that some request claimed.
    link = white_label.url_of(white_label.mailed(account)) + reverse("portal:password_reset_confirm", kwargs=where)
    return _mail(account, "portal/mail/password_reset.txt", {"link": link})


def _mail(account: Account | None, template: str, words: dict[str, Any]) -> dict[str, Any]:
    """Send a mail to an account; the first line of the template is the subject."""
    if account is None or account.email is None:
        raise ApiError("not_found", "The account is gone, or has no e-mail address any more")
    if not settings.EMAIL_HOST and settings.EMAIL_BACKEND.endswith("dummy.EmailBackend"):
        raise ApiError("unavailable", "No mail server is set: STREAMFLEET_PANEL_EMAIL_HOST")
    name = white_label.mailed(account)
    shown = {"account": account, "url": white_label.url_of(name), "brand": white_label.brand_of(name), **words}
    subject, _, body = render_to_string(template, shown).partition("\n")
    try:
        EmailMessage(subject.strip(), body.lstrip("\n"), settings.DEFAULT_FROM_EMAIL, [account.email]).send()
    except OSError as error:
        raise ApiError("unavailable", f"The mail server did not take the message: {type(error).__name__}") from None
    return {"sent": True}


_WORK = {
    Job.Kind.APPLY: _apply,
    Job.Kind.WELCOME_EMAIL: _welcome,
    Job.Kind.PASSWORD_RESET_EMAIL: _password_reset,
}
