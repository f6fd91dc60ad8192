"""A mail service on loopback that speaks Azure's protocol, over TLS, which the SDK insists on."""

import base64
import hashlib
import hmac
import ipaddress
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.ids import now

KEY = base64.b64encode(b"a key that only this test knows").decode()
TOKEN = "a.bearer.token"

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class MailService:
    """`taken` maps an operation's id to its content; `script` answers the next calls with something else."""

    certificate: Path
    endpoint: str = ""
    requests: list[tuple[web.Request, dict[str, Any]]] = field(default_factory=list)
    taken: dict[str, dict[str, Any]] = field(default_factory=dict)
    script: deque[Reply] = field(default_factory=deque)

    @property
    def connection(self) -> str:
        return f"endpoint={self.endpoint}/;accesskey={KEY}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        message = await request.json()
        self.requests.append((request, message))
        if not _is_signed(request, body) and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return refuse(401, "Denied")
        if self.script:
            return await self.script.popleft()(request)
        operation = request.headers["Operation-Id"]
        if self.taken.setdefault(operation, message) != message:
            return refuse(400, "OperationIdMismatch")
        location = f"{self.endpoint}/emails/operations/{operation}"
        headers = {"Operation-Location": location, "retry-after": "30"}
        return web.json_response({"id": operation, "status": "Running"}, status=202, headers=headers)


def refuse(status: int, code: str, **headers: str) -> web.Response:
    error = {"code": code, "message": "The address ann@example.com is quoted here."}
    headers["x-ms-error-code"] = code
    return web.json_response({"error": error}, status=status, headers=headers)


def _is_signed(request: web.Request, body: bytes) -> bool:
    """Compute the signature anew from what has arrived."""
    content = base64.b64encode(hashlib.sha256(body).digest()).decode()
    signed = f"POST\n{request.raw_path}\n{request.headers.get('x-ms-date')};{request.host};{content}"
    digest = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
    expected = (
        "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256"
        f"&Signature={base64.b64encode(digest).decode()}"
    )
    return (
        request.headers.get("Authorization") == expected
        and request.headers.get("x-ms-content-sha256") == content
    )


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a mail service in a test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - timedelta(hours=1))
        .not_valid_after(now() + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    public, private = folder / "certificate.pem", folder / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return public, private


@pytest_asyncio.fixture
async def service(certificate: tuple[Path, Path]) -> AsyncIterator[MailService]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    running = MailService(certificate[0])
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", running.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    running.endpoint = f"https://127.0.0.1:{runner.addresses[0][1]}"
    yield running
    await runner.cleanup()
