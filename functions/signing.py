"""Values that travel through a browser and must come back unchanged: cursors and form tokens."""

import json
from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer
from itsdangerous.encoding import base64_encode

from core.accounts.keys import KeyRing


class _Serializer(URLSafeTimedSerializer):
    """The library's, without a try to compress, which cost four times the signature on values this small."""

    def dump_payload(self, obj: Any) -> bytes:
        return base64_encode(json.dumps(obj, separators=(",", ":")))


class Signer:
    """Signs small JSON values, each for one purpose; the ring's first key signs, all of them are read."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = [key.secret for key in keys][::-1]  # the library signs with the last

    def sign(self, purpose: str, value: object) -> str:
        """Return URL-safe text that only `read` with the same purpose opens."""
        return str(_Serializer(self._keys, salt=purpose).dumps(value))

    def read(self, purpose: str, text: str, max_age_seconds: int | None = None) -> object:
        """Return the value. Raises ValueError if the text is forged, for another purpose, or too old."""
        try:
            value: object = _Serializer(self._keys, salt=purpose).loads(text, max_age=max_age_seconds)
        except BadData as error:
            raise ValueError(str(error)) from None
        return value
