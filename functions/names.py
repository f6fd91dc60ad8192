"""People, series and genres over HTTP: what administrators say of them, and who follows whom."""

from collections.abc import Awaitable, Callable
from typing import Any

import azure.functions as func
from pydantic import BaseModel

from core.catalog.models import NameKind
from core.catalog.names import NameContent, NameRow
from functions.http import API, Call, Reply, check_id, endpoint

blueprint = func.Blueprint()


class NameView(BaseModel):
    """A person, a series or a genre."""

    id: str
    name: str
    about: str | None


def _tagged(row: NameRow, status: int = 200, **headers: str) -> Reply:
    view = NameView(id=row.id, name=row.name, about=row.about)
    return Reply(view, status=status, etag=str(row.revision), headers=headers)


Handler = Callable[[Call[Any, Any]], Awaitable[Reply]]


def _named(name: str, doc: str, handler: Handler) -> Handler:
    handler.__name__ = name
    handler.__doc__ = doc
    return handler


def _offer(path: str, word: str, kind: NameKind) -> None:
    """Register adding, changing and deleting for one kind of name."""

    async def create(call: Call[NameContent, Any]) -> Reply:
        row = await call.services.names.create(kind, call.body, call.user, call.origin)
        return _tagged(row, 201, Location=f"{API}/{path}/{row.id}")

    async def change(call: Call[NameContent, Any]) -> Reply:
        row_id, names = check_id(call.params["id"]), call.services.names
        return _tagged(await names.change(kind, row_id, call.body, call.user, call.origin, call.if_match))

    async def delete(call: Call[None, Any]) -> Reply:
        row_id, names = check_id(call.params["id"]), call.services.names
        await names.delete(kind, row_id, call.user, call.origin, call.if_match)
        return Reply(status=204)

    at, one = f"{API}/{path}", f"{API}/{path}/{{id}}"
    added = f"Add one, with something about it.\n\n409 if there is a {word} of that name."
    changed = (
        f"Say anew what is known of one; all books follow a new name within a minute or so.\n\n"
        f"With `If-Match` only if it still has that ETag. 409 if another {word} has the name."
        + (" A genre is known by its name: the answer has the new id." if kind == "genre" else "")
    )
    deleted = (
        "Delete one that no published book names.\n\n409 while published books do; drafts keep the name."
    )
    shapes: dict[str, Any] = {"access": "admin", "body": NameContent, "reply": NameView, "failures": (409,)}
    endpoint(blueprint, "POST", at, status=201, **shapes)(_named(f"create_{word}", added, create))
    endpoint(blueprint, "PUT", one, conditional=True, **shapes)(_named(f"change_{word}", changed, change))
    endpoint(blueprint, "DELETE", one, access="admin", status=204, failures=(409,), conditional=True)(
        _named(f"delete_{word}", deleted, delete)
    )


def _offer_following(path: str, word: str) -> None:
    async def follow(call: Call[None, Any]) -> Reply:
        await call.services.follows.follow(call.user.user_id, check_id(call.params["id"]))
        return Reply(status=204)

    async def leave(call: Call[None, Any]) -> Reply:
        await call.services.follows.leave(call.user.user_id, check_id(call.params["id"]))
        return Reply(status=204)

    at = f"{API}/{path}/{{id}}/follow"
    rest: dict[str, Any] = {"access": "listener", "status": 204}
    endpoint(blueprint, "PUT", at, **rest)(_named(f"follow_{word}", f"Follow a {word}.", follow))
    endpoint(blueprint, "DELETE", at, **rest)(_named(f"unfollow_{word}", f"Follow a {word} no more.", leave))


_offer("authors", "author", "person")
_offer("narrators", "narrator", "person")
_offer("genres", "genre", "genre")
_offer("series", "series", "series")
_offer_following("authors", "author")
_offer_following("narrators", "narrator")
