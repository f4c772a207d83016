"""Forms of the portal. They only read what was typed; what it means is judged by the one planner (``apply``)."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordResetForm, SetPasswordForm
from django.forms.renderers import DjangoTemplates

from streamfleet_panel.apply import ApiError
from streamfleet_panel.models import Account


class Renderer(DjangoTemplates):
    """Labels, help and errors tied to their fields, as portal/field.html writes them."""

    form_template_name = "portal/form.html"
    field_template_name = "portal/field.html"


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
            name = name.partition(".")[0].partition("[")[0]
            words = f"{problem.message}. {problem.fix}".strip()
            if name in self.fields:
                words = words[:1].upper() + words[1:]
                self.add_error(name, words)
            else:
                self.add_error(None, f"{name}: {words}" if name else words[:1].upper() + words[1:])

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
