"""Everything that can be set, in one frozen model, read once from the environment.

The name in the environment is the field's name in capitals. An unknown name is not ours and is
left alone; a bad value stops the start with a sentence that names it.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from core.ids import normalise_email

MIN_KEY_CHARACTERS = 32
DEVELOPMENT_KEYS = ("development-", "replace-this")


Limit = Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["unlimited"]


class SettingsError(Exception):
    """A setting is missing or has a value that cannot be used."""


class Settings(BaseModel):
    """All settings of the app; times are in seconds."""

    model_config = ConfigDict(frozen=True)

    storage_connection: SecretStr | None = Field(
        None, alias="AzureWebJobsStorage", description="Connection string; locally Azurite's."
    )
    blob_service_uri: str | None = Field(
        None,
        alias="AzureWebJobsStorage__blobServiceUri",
        description="With a managed identity: the blob endpoint.",
    )
    queue_service_uri: str | None = Field(
        None,
        alias="AzureWebJobsStorage__queueServiceUri",
        description="With a managed identity: the queue endpoint.",
    )
    table_service_uri: str | None = Field(
        None,
        alias="AzureWebJobsStorage__tableServiceUri",
        description="With a managed identity: the table endpoint.",
    )
    identity_client_id: str | None = Field(
        None, alias="AzureWebJobsStorage__clientId", description="Client id of a user-assigned identity."
    )

    public_base_url: str = Field(
        "http://localhost:7071",
        alias="PUBLIC_BASE_URL",
        description="Where people reach the site; links are made from it.",
    )
    server_timing: bool = Field(
        False, alias="SERVER_TIMING", description="Say in each response how many storage calls it took."
    )

    site_name: str = Field(
        "", alias="WEBSITE_SITE_NAME", description="Set by Azure where the app runs there."
    )
    proxy_hops: int = Field(
        1,
        alias="PROXY_HOPS",
        ge=1,
        le=5,
        description="Which entry of X-Forwarded-For, counted from its end, is the client's.",
    )

    jwt_signing_key: SecretStr = Field(
        alias="JWT_SIGNING_KEY",
        description="Signs access tokens, cursors and form tokens; at least 32 characters. "
        "Several, separated by spaces: the first signs, the others are still accepted.",
    )
    data_key: SecretStr | None = Field(
        None,
        alias="DATA_KEY",
        description="Encrypts the secrets of second factors; at least 32 characters, several as above. "
        "Required in the cloud; elsewhere derived from JWT_SIGNING_KEY if empty.",
    )
    access_token_seconds: int = Field(
        900, alias="ACCESS_TOKEN_SECONDS", gt=0, le=900, description="Life of an access token."
    )
    session_days: int = Field(
        30,
        alias="SESSION_DAYS",
        gt=0,
        le=365,
        description="Days that a session lasts; programs renew theirs with each refresh.",
    )
    listeners_publish: bool = Field(
        False,
        alias="LISTENERS_PUBLISH",
        description="Everyone with a verified address is a publisher of books of their own.",
    )
    admin_emails: str = Field(
        "",
        alias="ADMIN_EMAILS",
        description="Addresses, separated by commas, whose accounts are administrators once verified.",
    )
    require_verified_email: bool | None = Field(
        None,
        alias="REQUIRE_VERIFIED_EMAIL",
        description="Nobody signs in before the link in a mail was followed; empty: unless this is loopback.",
    )
    refresh_grace_seconds: float = Field(
        30,
        alias="REFRESH_GRACE_SECONDS",
        ge=0,
        le=300,
        description="How long the refresh token before the newest is answered with the newest.",
    )
    account_attempts: int = Field(
        10,
        alias="ACCOUNT_ATTEMPTS",
        ge=1,
        le=500,
        description="Sign-ins in a row that may fail for one account within ATTEMPT_WINDOW_SECONDS.",
    )
    address_attempts: int = Field(
        300,
        alias="ADDRESS_ATTEMPTS",
        ge=1,
        le=500,
        description="Sign-ins, registrations and resets that one network address may try in that time.",
    )
    attempt_window_seconds: float = Field(
        900, alias="ATTEMPT_WINDOW_SECONDS", gt=0, le=86400, description="The time that attempts count."
    )
    google_client_id: str = Field(
        "", alias="GOOGLE_CLIENT_ID", description="Client id for Google sign-in; empty: switched off."
    )
    google_issuer: str = Field(
        "https://accounts.google.com", alias="GOOGLE_ISSUER", description="Issuer of Google's ID tokens."
    )
    google_jwks_url: str = Field(
        "https://www.googleapis.com/oauth2/v3/certs",
        alias="GOOGLE_JWKS_URL",
        description="Where that issuer's public keys are.",
    )

    openai_api_key: SecretStr | None = Field(
        None, alias="OPENAI_API_KEY", description="Key of the AI service."
    )
    openai_base_url: str | None = Field(
        None,
        alias="OPENAI_BASE_URL",
        description="Address of an OpenAI-compatible service; empty: OpenAI itself.",
    )
    azure_openai_endpoint: str = Field(
        "",
        alias="AZURE_OPENAI_ENDPOINT",
        description="Azure OpenAI by the app's identity, without a key: https://NAME.openai.azure.com.",
    )
    azure_openai_scope: str = Field(
        "https://cognitiveservices.azure.com/.default",
        alias="AZURE_OPENAI_SCOPE",
        description="What the identity's tokens for it are good for.",
    )
    speech_model: str = Field(
        "gpt-4o-transcribe", alias="SPEECH_MODEL", description="Model that turns speech into text."
    )
    speech_profile: str = Field(
        "",
        alias="SPEECH_PROFILE",
        description="A model of docs/ai.md whose abilities it has, where its name is not listed there.",
    )
    speech_base_url: str | None = Field(
        None, alias="SPEECH_BASE_URL", description="Address of its own for the speech model."
    )
    speech_api_key: SecretStr | None = Field(
        None, alias="SPEECH_API_KEY", description="Key for that address."
    )
    text_model: str = Field(
        "gpt-4o-mini", alias="TEXT_MODEL", description="Model that writes summaries and tags."
    )
    text_profile: str = Field("", alias="TEXT_PROFILE", description="As above, for the text model.")
    text_base_url: str | None = Field(
        None, alias="TEXT_BASE_URL", description="Address of its own for the text model."
    )
    text_api_key: SecretStr | None = Field(None, alias="TEXT_API_KEY", description="Key for that address.")
    ai_timeout_seconds: float = Field(
        180, alias="AI_TIMEOUT_SECONDS", gt=0, description="How long the AI may take to answer a call."
    )

    auto_publish: bool = Field(
        False,
        alias="AUTO_PUBLISH",
        description="Publish dropped books, at price 0, as soon as they are ready.",
    )
    max_upload_gb: float = Field(
        4, alias="MAX_UPLOAD_GB", gt=0, description="Larger files are not taken by POST /uploads."
    )
    upload_gb_per_day: float = Field(
        40, alias="UPLOAD_GB_PER_DAY", gt=0, description="What one publisher may upload in a day (UTC)."
    )
    archive_gb_per_day: float = Field(
        40,
        alias="ARCHIVE_GB_PER_DAY",
        gt=0,
        description="What one listener may have put into ZIPs in a day (UTC).",
    )
    quiet_seconds: float = Field(
        30,
        alias="QUIET_SECONDS",
        ge=0,
        le=86400,
        description="A folder's files become a book once none has come for this long.",
    )
    max_audio_hours: float = Field(
        60, alias="MAX_AUDIO_HOURS", gt=0, description="Longer recordings are rejected."
    )
    chunk_seconds: float = Field(
        330,
        alias="CHUNK_SECONDS",
        ge=10,
        le=600,
        description="Length of the stretches that the speech model gets; over 6 minutes, models lose text.",
    )
    max_attempts: int = Field(
        8, alias="MAX_ATTEMPTS", ge=1, le=50, description="Tries of a pipeline step before it fails for good."
    )
    backoff_seconds: float = Field(
        5,
        alias="BACKOFF_SECONDS",
        gt=0,
        description="First wait after a transient failure; doubles with each further one.",
    )
    max_backoff_seconds: float = Field(
        600, alias="MAX_BACKOFF_SECONDS", gt=0, description="Longest of those waits."
    )
    claim_seconds: float = Field(
        60,
        alias="CLAIM_SECONDS",
        gt=0,
        description="How long a worker that fell silent keeps its claim on a chunk or a job.",
    )
    stalled_seconds: float = Field(
        1800, alias="STALLED_SECONDS", gt=0, description="A job without news for this long is started again."
    )
    budget_dollars: Limit = Field(
        200.0,
        alias="BUDGET_DOLLARS",
        description="What the AI may cost in a month, in dollars; over it, work waits. "
        "0: nothing; `unlimited`: whatever it is.",
    )
    budget_hours: Limit = Field(
        600.0,
        alias="BUDGET_HOURS",
        description="Hours of sound that may be transcribed in a month; the only bound of a model whose "
        "price is not known.",
    )
    user_budget_dollars: Limit = Field(
        25.0,
        alias="USER_BUDGET_DOLLARS",
        description="What the recordings and books of each person may cost in a month; what is dropped into "
        "`uploads/` by hand is nobody's.",
    )
    user_budget_hours: Limit = Field(
        60.0, alias="USER_BUDGET_HOURS", description="Hours of sound that each of them may have transcribed."
    )
    catalog_refresh_seconds: float = Field(
        5, alias="CATALOG_REFRESH_SECONDS", ge=0, description="How old the catalog may be on any instance."
    )
    tax_rates: str = Field(
        "",
        alias="TAX_RATES",
        pattern=r"^([A-Z]{2,3}=[0-9]{1,4}(\s+|$))*$",
        description="Tax that prices contain, in basis points by country or currency: `AT=2000 EUR=1900`.",
    )
    simulated_payments: bool | None = Field(
        None,
        alias="SIMULATED_PAYMENTS",
        description="Buyers may pay with play money; empty: only where the site is on this machine.",
    )
    stripe_api_key: SecretStr | None = Field(
        None, alias="STRIPE_API_KEY", description="Secret key of Stripe; empty: nothing is paid with Stripe."
    )
    stripe_webhook_secret: SecretStr | None = Field(
        None,
        alias="STRIPE_WEBHOOK_SECRET",
        description="Signing secret of Stripe's webhook to /api/v1/payments/webhook; required with the key.",
    )
    stripe_api_base: str = Field(
        "https://api.stripe.com", alias="STRIPE_API_BASE", description="Where Stripe's API is."
    )
    alert_email: str = Field(
        "", alias="ALERT_EMAIL", description="Who is told of failures; empty: ADMIN_EMAILS."
    )
    alert_mail_minutes: float = Field(
        15,
        alias="ALERT_MAIL_MINUTES",
        ge=0,
        description="After an alert, further ones of its kind wait this long and are told together.",
    )
    alert_webhook: SecretStr | None = Field(
        None,
        alias="ALERT_WEBHOOK",
        description="Address of an incoming webhook, Slack's or Teams', that alerts go to as well.",
    )
    mail_from: str = Field("aloud@localhost", alias="MAIL_FROM", description="Sender of every mail.")
    mail_connection: SecretStr | None = Field(
        None,
        alias="MAIL_CONNECTION",
        description="Connection string of Azure Communication Services; empty: see MAIL_ENDPOINT.",
    )
    mail_endpoint: str = Field(
        "",
        alias="MAIL_ENDPOINT",
        description="With a managed identity: its endpoint; both empty: mails become files.",
    )

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Build the settings from `environment` (None: the process's own); empty values count as unset.

        Raises SettingsError with one line per setting that is wrong.
        """
        names = {field.alias: field for field in cls.model_fields.values()}
        values = os.environ if environment is None else environment
        given = {name: value for name, value in values.items() if name in names and value != ""}
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            lines = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise SettingsError("Check these settings: " + "; ".join(lines)) from None
        if wrong := settings._find_wrong():
            raise SettingsError("Check these settings: " + " ".join(wrong))
        return settings

    def _find_wrong(self) -> list[str]:
        """Return a sentence for each setting that cannot work with the others, or not in this place."""
        wrong = []
        if self.storage_connection is None and self.blob_service_uri is None:
            wrong.append(
                "Set AzureWebJobsStorage to a connection string, or AzureWebJobsStorage__blobServiceUri, "
                "__queueServiceUri and __tableServiceUri for a managed identity."
            )
        for name, secret in (("JWT_SIGNING_KEY", self.jwt_signing_key), ("DATA_KEY", self.data_key)):
            keys = secret.get_secret_value().split() if secret else []
            if secret is not None and (not keys or any(len(key) < MIN_KEY_CHARACTERS for key in keys)):
                wrong.append(f"{name}: each key needs at least {MIN_KEY_CHARACTERS} characters.")
            if any(key.startswith("@Microsoft.KeyVault") for key in keys):
                wrong.append(f"{name}: its Key Vault reference was not resolved; may the app read the vault?")
            if not self.is_local and any(key.startswith(DEVELOPMENT_KEYS) for key in keys):
                wrong.append(f"{name}: a development key is for one machine; make one of your own.")
        if not self.is_local and self.data_key is None:
            wrong.append("DATA_KEY: Field required where the site is not on this machine.")
        if not self.is_local and self.google_client_id:
            for name, url in (
                ("GOOGLE_ISSUER", self.google_issuer),
                ("GOOGLE_JWKS_URL", self.google_jwks_url),
            ):
                if not url.startswith("https://"):
                    wrong.append(f"{name}: only https will do where the site is not on this machine.")
        wrong += self._find_wrong_payments()
        if (
            self.site_name
            and self.verified_email_required
            and not (self.mail_connection or self.mail_endpoint)
        ):
            wrong.append(
                "MAIL_CONNECTION or MAIL_ENDPOINT: addresses are verified by mail, so one is needed."
            )
        if self.site_name and not self.public_base_url.startswith("https://"):
            wrong.append("PUBLIC_BASE_URL: in the cloud the site is on https.")
        return wrong + self._find_wrong_ai()

    def _find_wrong_ai(self) -> list[str]:
        wrong = []
        if self.azure_openai_endpoint and (self.openai_base_url or self.openai_api_key):
            wrong.append("AZURE_OPENAI_ENDPOINT: leave OPENAI_BASE_URL and OPENAI_API_KEY empty beside it.")
        for name, key, address in (
            ("SPEECH", self.speech_api_key, self.speech_base_url),
            ("TEXT", self.text_api_key, self.text_base_url),
        ):
            if key is not None and not address:
                wrong.append(f"{name}_API_KEY: this key is for {name}_BASE_URL, which is empty.")
        return wrong

    def _find_wrong_payments(self) -> list[str]:
        if (self.stripe_api_key is None) != (self.stripe_webhook_secret is None):
            return ["STRIPE_API_KEY and STRIPE_WEBHOOK_SECRET: set both or neither."]
        if self.stripe_api_key is None or self.stripe_webhook_secret is None:
            return []
        wrong = []
        key, secret = (
            self.stripe_api_key.get_secret_value(),
            self.stripe_webhook_secret.get_secret_value(),
        )
        if not key.startswith(("sk_", "rk_")):
            wrong.append("STRIPE_API_KEY: a secret or restricted key begins with sk_ or rk_.")
        if not secret.startswith("whsec_"):
            wrong.append("STRIPE_WEBHOOK_SECRET: a signing secret begins with whsec_.")
        if key.startswith(("sk_test_", "rk_test_")) and not self.play_money_allowed:
            wrong.append("STRIPE_API_KEY: a test key takes play money; SIMULATED_PAYMENTS has to allow that.")
        if not self.is_local and not self.stripe_api_base.startswith("https://"):
            wrong.append("STRIPE_API_BASE: only https will do where the site is not on this machine.")
        return wrong

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the site."""
        return not self.site_name and urlsplit(self.public_base_url).hostname in ("localhost", "127.0.0.1")

    @property
    def verified_email_required(self) -> bool:
        """Whether an address has to be verified before its first sign-in."""
        required = self.require_verified_email
        return not self.is_local if required is None else required

    @property
    def play_money_allowed(self) -> bool:
        """Whether books may be had for money that is none."""
        return self.is_local if self.simulated_payments is None else self.simulated_payments

    @property
    def admins(self) -> frozenset[str]:
        """Normalised addresses of the administrators."""
        return frozenset(
            normalise_email(address) for address in self.admin_emails.split(",") if address.strip()
        )

    @property
    def alert_recipients(self) -> tuple[str, ...]:
        """Addresses that alert mails go to."""
        named = self.alert_email or self.admin_emails
        return tuple(address.strip() for address in named.split(",") if address.strip())
