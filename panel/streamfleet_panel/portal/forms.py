"""Forms of the portal. They only read what was typed; what it means is judged by the one planner (``apply``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordResetForm, SetPasswordForm
from django.forms.renderers import DjangoTemplates

from streamfleet_panel.apply import ApiError
from streamfleet_panel.apply.schedule import DAYS
from streamfleet_panel.engines import Property
from streamfleet_panel.models import Account
from streamfleet_panel.models.domain import MOST_NAME
from streamfleet_panel.portal import display


class Renderer(DjangoTemplates):
    """Labels, help and errors tied to their fields, as portal/field.html writes them."""

    form_template_name = "portal/form.html"
    field_template_name = "portal/field.html"


class Days(forms.MultipleChoiceField):
    """Days of the week; none is every day, which is null."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("widget", forms.CheckboxSelectMultiple)
        super().__init__(required=False, choices=[(day, day.capitalize()) for day in DAYS], **options)

    def clean(self, value: Any) -> Any:
        """A list, or null."""
        return super().clean(value) or None

    def has_changed(self, initial: Any, data: Any) -> bool:
        """By the days, whatever their order."""
        return super().has_changed(initial or [], data or [])


class PortalForm(forms.Form):
    """A form in the portal's own looks."""

    default_renderer = Renderer
    use_required_attribute = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)

    def refuse(self, error: ApiError) -> None:
        """Show a refusal of the planner beside the fields that it is about."""
        if not error.errors:
            self.add_error(None, error.message)
        for problem in error.errors:
            _, _, name = problem.path.partition(".")
            name = self.field_of(name.partition(".")[0].partition("[")[0])
            words = f"{problem.message}. {problem.fix}".strip()
            if name in self.fields:
                words = words[:1].upper() + words[1:]
                self.add_error(name, words)
            else:
                self.add_error(None, f"{name}: {words}" if name else words[:1].upper() + words[1:])

    def field_of(self, name: str) -> str:
        """The form's field for the document's ``name``."""
        return name

    def given(self, *names: str) -> dict[str, Any]:
        """The named values as a document has them: an empty text is null."""
        return {name: self.cleaned_data[name] if self.cleaned_data[name] != "" else None for name in names}


def _password(label: str, autocomplete: str = "new-password", **more: Any) -> forms.CharField:
    widget = forms.PasswordInput(attrs={"autocomplete": autocomplete})
    return forms.CharField(label=label, widget=widget, strip=False, max_length=256, **more)


def _same(form: forms.Form, first: str, second: str) -> None:
    one, two = form.cleaned_data.get(first), form.cleaned_data.get(second)
    if (one or two) and one != two and first not in form.errors:
        form.add_error(second, "The two passwords are not the same. Type the same password twice.")


class LoginForm(AuthenticationForm):
    """User name and password. Names are compared in lower case, so a lock-out cannot be dodged by capitals."""

    default_renderer = Renderer
    error_messages = {
        "invalid_login": "That user name and password do not belong together, or the account is disabled.",
        "inactive": "That user name and password do not belong together, or the account is disabled.",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "User name"
        self.fields["username"].widget.attrs["spellcheck"] = "false"

    def clean_username(self) -> str:
        """As accounts are stored."""
        username: str = self.cleaned_data["username"]
        return username.strip().lower()


class ResetForm(PasswordResetForm):
    """Asks for the address; whether it is known is never said."""

    default_renderer = Renderer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        self.fields["email"].label = "E-mail address"


class NewPasswordForm(SetPasswordForm):  # type: ignore[type-arg]
    """A new password, twice."""

    default_renderer = Renderer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        self.fields["new_password1"].label = "New password"
        self.fields["new_password1"].help_text = "At least 5 characters."
        self.fields["new_password2"].label = "The same again"
        self.fields["new_password2"].help_text = ""


class ProfileForm(PortalForm):
    """What an account may say of itself."""

    name = forms.CharField(required=False, max_length=200, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    email = forms.EmailField(
        label="E-mail address",
        required=False,
        max_length=254,
        help_text="For setting a new password, and for notices.",
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    contact_number = forms.CharField(
        required=False, max_length=50, widget=forms.TextInput(attrs={"autocomplete": "tel", "inputmode": "tel"})
    )
    accessibility_features = forms.BooleanField(
        required=False, help_text="Adds a “Skip to main content” link to the top of every page, for screen readers."
    )

    def document(self) -> dict[str, Any]:
        """The fields as the document names them."""
        return self.given("name", "email", "contact_number", "accessibility_features")


class PasswordForm(PortalForm):
    """A new password of one's own; the present one proves who asks."""

    old_password = _password("Present password", "current-password")
    password = _password("New password", help_text="At least 5 characters.")
    password_again = _password("The same again")

    def __init__(self, account: Account, *args: Any, **kwargs: Any) -> None:
        self.account = account
        super().__init__(*args, **kwargs)

    def clean(self) -> dict[str, Any]:
        """Both new ones the same, and the present one right."""
        _same(self, "password", "password_again")
        old = self.cleaned_data.get("old_password")
        if old and not self.errors and not self.account.check_password(old):
            self.add_error("old_password", "This is not your present password.")
        return self.cleaned_data


class CustomerForm(PortalForm):
    """A customer of a reseller."""

    username = forms.CharField(
        label="User name",
        max_length=64,
        help_text="Lower-case letters, digits and . _ @ + - ; usually the e-mail address. It cannot be changed later.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
    )
    password = _password("Password", help_text="At least 5 characters.")
    password_again = _password("Confirm password")
    accessibility_features = forms.BooleanField(
        required=False, help_text="Adds a “Skip to main content” link to the top of every page, for screen readers."
    )
    status = forms.ChoiceField(
        choices=Account.Status.choices, help_text="Disabled: no log-in, and all services are off the air."
    )
    api_access = forms.BooleanField(
        label="API access", required=False, initial=True, help_text="Off: every API call of this account is refused."
    )
    send_welcome_email = forms.BooleanField(
        label="Send welcome e-mail", required=False, help_text="Tells the customer the address and the user name."
    )
    name = forms.CharField(required=False, max_length=200)
    contact_number = forms.CharField(required=False, max_length=50, help_text="For your information.")
    email = forms.EmailField(
        label="E-mail", required=False, max_length=254, help_text="For setting a new password, and for notices."
    )
    fields_of_document = (
        "accessibility_features",
        "status",
        "api_access",
        "name",
        "contact_number",
        "email",
    )

    def __init__(self, *args: Any, mail: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not mail:
            del self.fields["send_welcome_email"]

    def clean(self) -> dict[str, Any]:
        """Both passwords the same."""
        _same(self, "password", "password_again")
        return self.cleaned_data

    def document(self) -> dict[str, Any]:
        """The fields as the document names them; an empty password is not named."""
        fields = self.given(*self.fields_of_document)
        if self.cleaned_data.get("password"):
            fields["password"] = self.cleaned_data["password"]
        if self.cleaned_data.get("send_welcome_email"):
            fields["send_welcome_email"] = True
        return fields


class CustomerEditForm(CustomerForm):
    """A customer that exists: the name stays, the password only changes where one is typed."""

    username = None  # type: ignore[assignment]
    send_welcome_email = None  # type: ignore[assignment]
    password = _password("New password", required=False, help_text="Leave it empty to keep the present one.")
    password_again = _password("Confirm new password", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, mail=True, **kwargs)


class TokenForm(PortalForm):
    """A new API token."""

    name = forms.CharField(max_length=100, help_text="What it is for, for example “billing” or “CI”.")
    days = forms.TypedChoiceField(
        label="Expires",
        choices=[("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year"), ("0", "never")],
        coerce=int,
        initial="90",
    )


class MediaUserForm(PortalForm):
    """A log-in for media, new or again."""

    name = forms.CharField(max_length=32, help_text="For example “studio”. That of a log-in that exists changes it.")
    password = _password("Password", help_text="8 to 128 characters.")
    protocols = forms.MultipleChoiceField(
        label="Ways in",
        choices=[("sftp", "SFTP"), ("ftps", "FTP over TLS")],
        initial=["sftp", "ftps"],
        widget=forms.CheckboxSelectMultiple,
    )
    read_only = forms.BooleanField(label="May only fetch files", required=False)

    def document(self) -> dict[str, Any]:
        """The object of the document, without its customer."""
        return {name: self.cleaned_data[name] for name in ("name", "password", "protocols", "read_only")}


class ScheduleForm(PortalForm):
    """An entry of a station's calendar, new or again."""

    name = forms.CharField(
        max_length=63,
        help_text="For example “sunday-evening”: lower-case letters, digits, hyphens. That of an entry changes it.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false", "autocomplete": "off"}),
    )
    who = forms.ChoiceField(label="Who is on", choices=[])
    days = Days(help_text="On which it begins. None ticked: every day.")
    start = forms.CharField(label="From", widget=forms.TimeInput(attrs={"type": "time"}))
    end = forms.CharField(
        label="To", help_text="A time before that is on the next day.", widget=forms.TimeInput(attrs={"type": "time"})
    )
    start_date = forms.CharField(label="First day", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    end_date = forms.CharField(
        label="Last day",
        required=False,
        help_text="The same as the first for one day alone.",
        widget=forms.DateInput(attrs={"type": "date"}),
    )

    def __init__(self, names: Mapping[str, list[str]], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        titles = {"playlist": "Playlists", "dj": "DJs"}
        self.fields["who"].choices = [  # type: ignore[attr-defined]
            (titles[kind], [(f"{kind} {name}", name) for name in found]) for kind, found in names.items() if found
        ]

    def field_of(self, name: str) -> str:
        """Both that an entry may name are one field here."""
        return "who" if name in ("playlist", "dj") else name

    def document(self) -> dict[str, Any]:
        """The object of the document, without its service."""
        kind, _, name = self.cleaned_data["who"].partition(" ")
        who = {"playlist": None, "dj": None, kind: name}
        return {
            **self.given("name", "start", "end", "start_date", "end_date"),
            "days": self.cleaned_data["days"],
            **who,
        }


class DomainForm(PortalForm):
    """A new domain of a service."""

    name = forms.CharField(
        label="Domain",
        max_length=MOST_NAME,
        help_text="For example “radio.example.com”. Afterwards you prove by a record that it is yours.",
        widget=forms.TextInput(
            attrs={"autocapitalize": "none", "spellcheck": "false", "autocomplete": "off", "inputmode": "url"}
        ),
    )

    def clean_name(self) -> str:
        """As DNS compares names: capitals and a last dot are no difference."""
        name: str = self.cleaned_data["name"]
        return name.lower().rstrip(".")


class PanelDomainForm(DomainForm):
    """A new domain of a reseller's for the panel."""

    field_order = ["name", "brand"]
    brand = forms.CharField(
        label="Brand",
        max_length=60,
        required=False,
        help_text="What the panel is called there. Empty: your own name.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields[
            "name"
        ].help_text = "For example “panel.example.com”. Afterwards you prove by a record that it is yours."


class MountForm(PortalForm):
    """A mount, with what items of the engine's own list of mounts have. ``mount``: one that exists; its path stays."""

    def __init__(self, prop: Property, *args: Any, mount: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self.schemas: Mapping[str, Any] = prop.schema["items"]["properties"]
        stored = mount or {}
        initial = {name: stored.get(name, schema.get("default")) for name, schema in self.schemas.items()}
        super().__init__(*args, initial=initial, **kwargs)
        first = sorted(self.schemas, key=lambda name: name != "name")
        for name in first:
            if name != "name" or mount is None:
                self.fields[name] = _field_of(name, self.schemas[name], name in prop.schema["items"]["required"])

    def document(self) -> dict[str, Any]:
        """The fields of the document, without the key; an empty one is null where there is that, else not named."""
        fields: dict[str, Any] = {}
        for name, value in self.cleaned_data.items():
            if name == "name":
                continue
            if value is None or value == "":
                if "null" in self.schemas[name]["type"]:
                    fields[name] = None
            else:
                fields[name] = value
        return fields


def _field_of(name: str, schema: Mapping[str, Any], required: bool) -> forms.Field:
    """The field of a form for one of a mount's, by its JSON Schema."""
    texts: dict[str, Any] = {"label": display.mount_words(name), "help_text": display.mount_help(schema)}
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if "boolean" in kinds:
        return forms.BooleanField(required=False, **texts)
    if "enum" in schema:
        return forms.ChoiceField(choices=[(value, value) for value in schema["enum"]], required=required, **texts)
    if "integer" in kinds:
        limits: dict[str, Any] = {"min_value": schema.get("minimum"), "max_value": schema.get("maximum")}
        return forms.IntegerField(required=required, **limits, **texts)
    if name == "name":
        texts["help_text"] = "What listeners open, for example /low.aac. It cannot be changed later."
    plain = forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false", "autocomplete": "off"})
    return forms.CharField(max_length=100, required=required, widget=plain, **texts)


class QueueForm(PortalForm):
    """A recording that is played next."""

    recording = forms.CharField(
        label="Recording",
        strip=False,
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocomplete": "off"}),
        help_text="Where it lies in your media library, for example music/song.mp3.",
    )
    first = forms.BooleanField(label="Before all that waits", required=False)

    def body(self) -> dict[str, Any]:
        """What the queue is given."""
        return {"files": [self.cleaned_data["recording"]], "position": 1 if self.cleaned_data["first"] else None}

    def refuse(self, error: ApiError) -> None:
        """Beside the recording, which is all that there is to be refused."""
        for problem in error.errors:
            words = f"{problem.message}. {problem.fix}".strip()
            self.add_error("recording", words[:1].upper() + words[1:])
        if not error.errors:
            self.add_error(None, error.message)


class RotateForm(PortalForm):
    """Which credentials of a service are made anew, and how long the old ones still work."""

    names = forms.MultipleChoiceField(label="Credentials to replace", widget=forms.CheckboxSelectMultiple)
    overlap_seconds = forms.TypedChoiceField(
        label="The old ones still work",
        choices=[("0", "not at all: they stop at once"), ("3600", "for one hour"), ("86400", "for one day")],
        coerce=int,
        initial="3600",
        help_text="Choose some time to change your encoder's settings without going off the air.",
    )

    def __init__(self, names: list[tuple[str, str]], *args: Any, overlaps: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["names"].choices = names  # type: ignore[attr-defined]
        self.fields["names"].initial = [name for name, _ in names]
        if not overlaps:
            # This engine knows one value at a time.
            del self.fields["overlap_seconds"]
