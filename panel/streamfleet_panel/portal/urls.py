"""Addresses of the portal."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from streamfleet_panel.portal.views import (
    calendar,
    customers,
    domains,
    listeners,
    media,
    mounts,
    panel_domains,
    profile,
    services,
    session,
    tokens,
)

app_name = "portal"
urlpatterns = [
    path("", session.home, name="home"),
    path("login/", session.Login.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("password-reset/", session.PasswordReset.as_view(), name="password_reset"),
    path("password-reset/sent/", session.PasswordResetDone.as_view(), name="password_reset_done"),
    path("password-reset/<uidb64>/<token>/", session.PasswordResetConfirm.as_view(), name="password_reset_confirm"),
    path("password-reset/complete/", session.PasswordResetComplete.as_view(), name="password_reset_complete"),
    path("services/", services.index, name="services"),
    path("services/<slug:slug>/", services.detail, name="service"),
    path("services/<slug:slug>/credentials/", services.credentials, name="credentials"),
    path("services/<slug:slug>/credentials/replace/", services.rotate, name="rotate"),
    path("services/<slug:slug>/djs/<slug:username>/credentials/", services.dj_credentials, name="dj_credentials"),
    path("services/<slug:slug>/djs/<slug:username>/kick/", services.dj_kick, name="dj_kick"),
    path("services/<slug:slug>/action/", services.action, name="action"),
    path("services/<slug:slug>/queue/", services.queue_put, name="queue"),
    path("services/<slug:slug>/queue/empty/", services.queue_take_out, name="queue_empty"),
    path("services/<slug:slug>/queue/<slug:name>/remove/", services.queue_take_out, name="queue_remove"),
    path("services/<slug:slug>/status/", services.status, name="status"),
    path("services/<slug:slug>/calendar/", calendar.index, name="calendar"),
    path("services/<slug:slug>/calendar/<slug:name>/delete/", calendar.delete, name="schedule_delete"),
    path("services/<slug:slug>/listeners/", listeners.index, name="listeners"),
    path("services/<slug:slug>/domains/", domains.index, name="domains"),
    path("services/<slug:slug>/domains/<str:name>/check/", domains.check, name="domain_check"),
    path("services/<slug:slug>/domains/<str:name>/delete/", domains.delete, name="domain_delete"),
    path("services/<slug:slug>/mounts/", mounts.index, name="mounts"),
    path("services/<slug:slug>/mounts/<str:name>/", mounts.edit, name="mount"),
    path("services/<slug:slug>/mounts/<str:name>/delete/", mounts.delete, name="mount_delete"),
    path("customers/", customers.index, name="customers"),
    path("customers/new/", customers.create, name="customer_new"),
    path("customers/of/<str:username>/", customers.edit, name="customer"),
    path("customers/of/<str:username>/delete/", customers.delete, name="customer_delete"),
    path("panel-domains/", panel_domains.index, name="panel_domains"),
    path("panel-domains/<str:name>/brand/", panel_domains.brand, name="panel_domain_brand"),
    path("panel-domains/<str:name>/check/", panel_domains.check, name="panel_domain_check"),
    path("panel-domains/<str:name>/delete/", panel_domains.delete, name="panel_domain_delete"),
    path("media/", media.index, name="media"),
    path("media/<slug:name>/delete/", media.delete, name="media_delete"),
    path("tokens/", tokens.index, name="tokens"),
    path("tokens/<str:token_id>/revoke/", tokens.revoke, name="token_revoke"),
    path("profile/", profile.profile, name="profile"),
    path("profile/password/", profile.password, name="password"),
]
