"""What payment providers tell by themselves."""

from typing import Any

import azure.functions as func

from functions.http import API, Call, Reply, endpoint

blueprint = func.Blueprint()

_MAX_BYTES = 256 * 1024


@endpoint(
    blueprint,
    "POST",
    f"{API}/payments/webhook",
    access="signed",
    body=bytes,
    max_bytes=_MAX_BYTES,
    failures=(401,),
)
async def receive_payment_event(call: Call[bytes, Any]) -> Reply:
    """Take an event of a payment provider, signed in a header, over the body as it is.

    401 for a signature that is missing, forged or older than five minutes. An event that was taken before,
    or does not matter here, is answered as any other. 503: send it again.
    """
    headers = {name.lower(): value for name, value in call.request.headers.items()}
    await call.services.commerce.webhooks.receive(call.body, headers)
    return Reply(status=200)
