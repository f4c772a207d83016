"""A reseller's customers."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.db.models import Count, Q, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from streamfleet_panel import access
from streamfleet_panel.access import Actor
from streamfleet_panel.apply import ApiError, apply_one
from streamfleet_panel.models import Account
from streamfleet_panel.portal.forms import CustomerEditForm, CustomerForm
from streamfleet_panel.portal.pages import NEW_PASSWORD, own, page, paginated


def _others(actor: Actor) -> QuerySet[Account]:
    """Accounts in the actor's reach but its own. Raises Http404 for whoever has no customers."""
    if not access.may(actor, "create", "customer"):
        raise Http404("This account has no customers")
    return access.accounts(actor).exclude(pk=own(actor).pk)


def _find(actor: Actor, username: str) -> Account:
    account: Account | None = _others(actor).filter(username=username).first()
    if account is None:
        raise Http404("There is no such customer")
    return account


def _use(actor: Actor) -> list[tuple[str, int, int | None]]:
    """What a reseller has given out of its plan: (words, used, limit)."""
    account = own(actor)
    plan = account.reseller_plan
    if plan is None or not account.is_reseller:
        return []
    services = access.services(actor)
    listeners = services.aggregate(sum=Sum("max_listeners"))["sum"] or 0
    return [
        ("customers", _others(actor).count(), plan.max_customers),
        ("media services", services.count(), plan.max_media_services),
        ("listeners", listeners, plan.max_listeners),
    ]


@require_GET
@page
def index(request: HttpRequest, actor: Actor) -> HttpResponse:
    """The customers in the actor's reach."""
    customers = _others(actor).annotate(services=Count("media_services", filter=Q(media_services__deleted_at=None)))
    search = request.GET.get("search", "").strip()
    if search:
        customers = customers.filter(
            Q(username__icontains=search) | Q(name__icontains=search) | Q(email__icontains=search)
        )
    shown = paginated(request, customers.order_by("username"))
    for customer in shown:
        customer.may_be_taken_over = access.may_hijack(hijacker=own(actor), hijacked=customer)
    context = {"section": "customers", "page": shown, "search": search, "use": _use(actor)}
    return render(request, "portal/customers.html", context)


@require_http_methods(["GET", "POST"])
@page
def create(request: HttpRequest, actor: Actor) -> HttpResponse:
    """A new customer. The reseller's plan holds, since the planner decides."""
    _others(actor)
    form = CustomerForm(request.POST or None, mail=bool(settings.EMAIL_HOST))
    if form.is_valid():
        username = form.cleaned_data["username"].strip()
        # The planner would take a known name for a change of that account.
        if Account.objects.filter(username=username.lower()).exists():
            form.add_error("username", "This user name is taken. Choose another.")
        else:
            try:
                apply_one("customer", {"username": username, **form.document()}, actor)
            except ApiError as error:
                form.refuse(error)
            else:
                messages.success(request, f"The customer {username} is created.")
                return redirect("portal:customers")
    return render(request, "portal/customer_form.html", {"section": "customers", "form": form, "customer": None})


@require_http_methods(["GET", "POST"])
@page
def edit(request: HttpRequest, actor: Actor, username: str) -> HttpResponse:
    """A customer's fields."""
    customer = _find(actor, username)
    initial = {name: getattr(customer, name) for name in CustomerEditForm.fields_of_document}
    form = CustomerEditForm(request.POST or None, initial=initial)
    if form.is_valid():
        try:
            fields = {"username": customer.username, **form.document()}
            apply_one("customer", fields, actor, NEW_PASSWORD)
        except ApiError as error:
            form.refuse(error)
        else:
            messages.success(request, f"{customer.username} is saved.")
            return redirect("portal:customers")
    return render(request, "portal/customer_form.html", {"section": "customers", "form": form, "customer": customer})


@require_http_methods(["GET", "POST"])
@page
def delete(request: HttpRequest, actor: Actor, username: str) -> HttpResponse:
    """Delete a customer with its services; they can be restored for some days."""
    customer = _find(actor, username)
    refusal = None
    if request.method == "POST":
        try:
            apply_one("customer", {"username": customer.username, "state": "absent"}, actor)
        except ApiError as error:
            refusal = error
        else:
            messages.success(request, f"{customer.username} is deleted.")
            return redirect("portal:customers")
    services = access.services(actor).filter(customer=customer)
    context = {
        "section": "customers",
        "customer": customer,
        "services": services,
        "refusal": refusal,
        "grace_days": settings.GRACE_DAYS,
    }
    return render(request, "portal/customer_delete.html", context)
