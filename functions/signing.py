"""Values that travel through a browser and must come back unchanged: cursors and form tokens."""

import hmac

from itsdangerous import BadData, URLSafeTimedSerializer


class Signer:
    """Signs small JSON values, each for one purpose."""

    def __init__(self, key: str) -> None:
        self._key = hmac.digest(key.encode(), b"signed values", "sha256")

    def sign(self, purpose: str, value: object) -> str:
        """Return URL-safe text that only `read` with the same purpose opens."""
        return str(URLSafeTimedSerializer(self._key, salt=purpose).dumps(value))

    def read(self, purpose: str, text: str, max_age_seconds: int | None = None) -> object:
        """Return the value. Raises ValueError if the text is forged, for another purpose, or too old."""
        try:
            value: object = URLSafeTimedSerializer(self._key, salt=purpose).loads(
                text, max_age=max_age_seconds
            )
        except BadData as error:
            raise ValueError(str(error)) from None
        return value
