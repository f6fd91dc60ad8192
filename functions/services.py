"""The services of this process, built when the first request or message needs them."""

from functools import cache

from core.accounts.keys import KeyRing
from core.settings import Settings
from core.wiring import Services, build
from functions.signing import Signer


@cache
def services() -> Services:
    """Return the app's services, built when the first request or message needs them."""
    return build(Settings.read())


@cache
def signer() -> Signer:
    """Return the signer of cursors and form tokens."""
    return Signer(KeyRing.read(services().settings.jwt_signing_key.get_secret_value(), "signed values"))
