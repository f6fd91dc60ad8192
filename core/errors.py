"""Every error that Aloud raises on purpose, in one tree.

    AloudError                      500  an error of ours with no better name
    ├── MalformedRequestError       400  the request cannot be read at all
    ├── UnauthenticatedError        401  no credentials, or bad ones
    │   ├── MfaRequiredError        401  the password is right, the second factor is missing
    │   └── MfaInvalidError         401  the password is right, the second factor is not
    ├── PaymentDeclinedError        402  no money was taken, and none will be
    ├── ForbiddenError              403  known, but not allowed
    │   ├── NotOwnedError           403  the book has to be bought first
    │   ├── EmailUnverifiedError    403  the link in the mail has to be followed first
    │   └── AccountDisabledError    403  an administrator has closed the account
    ├── NotFoundError               404  absent, or not yours to know of
    ├── ConflictError               409  clashes with what is stored
    │   ├── OutdatedError           409  something newer is stored
    │   └── PriceChangedError       409  the total is not what the buyer expects
    ├── StaleError                  412  If-Match names an older revision
    ├── TooLargeError               413  body over the limit
    ├── UnsupportedMediaError       415  wrong media type
    ├── InvalidError                422  the payload's fields are wrong
    ├── ThrottledError              429  too many requests, with a time to wait
    ├── UnavailableError            503  a part we need does not answer, with a time to wait
    │   ├── ModelUnavailableError   503  the AI failed in a way that time can heal
    │   └── PaymentAccountError     503  our account at the payment provider does not work
    ├── StorageLimitError           500  a row, message or transaction over Azure's limits
    ├── ModelRefusedError           500  the AI failed in a way that repeating cannot heal
    │   ├── ModelAccountError       500  the AI serves nothing to us: bad credentials, or no money
    │   └── ModelFilteredError      500  the AI withholds its answer because of what it is about
    └── RejectedAudioError          422  a dropped file that is no usable recording

The HTTP status and the stable slug of each are on its class; `functions/replies.py` turns them
into problem+json, once. What is not in this tree is a bug: logged, and answered as a blank 500.
"""

from collections.abc import Mapping
from typing import ClassVar


class AloudError(Exception):
    """The root: `detail` is a sentence that may be shown to whoever called."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail


class MalformedRequestError(AloudError):
    status, slug, title = 400, "malformed-request", "The request cannot be read"


class UnauthenticatedError(AloudError):
    status, slug, title = 401, "unauthenticated", "Sign in first"


class MfaRequiredError(UnauthenticatedError):
    slug, title = "mfa-required", "A code of your second factor is needed"


class MfaInvalidError(UnauthenticatedError):
    slug, title = "mfa-invalid", "The code of your second factor is not right"


class PaymentDeclinedError(AloudError):
    status, slug, title = 402, "payment-declined", "Nothing was paid"


class ForbiddenError(AloudError):
    status, slug, title = 403, "forbidden", "Not allowed"


class NotOwnedError(ForbiddenError):
    slug, title = "not-owned", "This book is not in your library"


class EmailUnverifiedError(ForbiddenError):
    slug, title = "email-unverified", "Confirm your mail address first"


class AccountDisabledError(ForbiddenError):
    slug, title = "account-disabled", "This account is closed"


class NotFoundError(AloudError):
    status, slug, title = 404, "not-found", "Not found"


class ConflictError(AloudError):
    status, slug, title = 409, "conflict", "In conflict with what is stored"


class OutdatedError(ConflictError):
    """`stored` and `sent` are shown in the reply, as JSON values."""

    slug, title = "outdated", "Something newer is stored"

    def __init__(self, detail: str, stored: Mapping[str, object], sent: Mapping[str, object]) -> None:
        super().__init__(detail)
        self.stored = stored
        self.sent = sent


class PriceChangedError(ConflictError):
    slug, title = "price-changed", "The price has changed"


class StaleError(AloudError):
    status, slug, title = 412, "stale", "Changed by someone else in the meantime"


class TooLargeError(AloudError):
    status, slug, title = 413, "too-large", "Too large"


class UnsupportedMediaError(AloudError):
    status, slug, title = 415, "unsupported-media-type", "Unsupported media type"


class InvalidError(AloudError):
    """`fields` are (field, message) pairs, shown as `errors` in the reply."""

    status, slug, title = 422, "invalid", "Some fields are not valid"

    def __init__(self, detail: str = "", fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(detail)
        self.fields = fields


class ThrottledError(AloudError):
    """`retry_after` is in seconds."""

    status, slug, title = 429, "throttled", "Too many requests"

    def __init__(self, detail: str = "", retry_after: float = 60.0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class UnavailableError(AloudError):
    """`retry_after` is in seconds; None where the failing part named no time."""

    status, slug, title = 503, "unavailable", "Not available at the moment"

    def __init__(self, detail: str = "", retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class ModelUnavailableError(UnavailableError):
    """`said` and `reference` as with ModelRefusedError."""

    slug, title = "model-unavailable", "The AI does not answer at the moment"

    def __init__(
        self, detail: str = "", retry_after: float | None = None, *, said: str = "", reference: str = ""
    ) -> None:
        super().__init__(detail, retry_after)
        self.said = said
        self.reference = reference


class PaymentAccountError(UnavailableError):
    slug, title = "payments-unavailable", "Nothing can be paid at the moment"


class StorageLimitError(AloudError):
    slug, title = "storage-limit", "Over a limit of the storage"


class ModelRefusedError(AloudError):
    """`detail` is in our own words. `said` is in the service's, and `reference` what its support asks for:
    both are for the log and for administrators.
    """

    slug, title = "model-refused", "The AI refuses this request"

    def __init__(self, detail: str = "", *, said: str = "", reference: str = "") -> None:
        super().__init__(detail)
        self.said = said
        self.reference = reference


class ModelAccountError(ModelRefusedError):
    slug, title = "model-account", "The AI does not accept our account"


class ModelFilteredError(ModelRefusedError):
    slug, title = "model-filtered", "The AI withholds its answer"


class RejectedAudioError(AloudError):
    """`detail` tells the person who dropped the file what is wrong with it."""

    status, slug, title = 422, "rejected-audio", "Not a usable recording"
