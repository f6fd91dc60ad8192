"""Profiles: what a person shows and prefers."""

from contextlib import suppress

from pydantic import BaseModel, ConfigDict

from core.accounts.models import Biography, DisplayName, Locale, Notifications, PlaybackSpeed, User
from core.accounts.store import AccountStore
from core.errors import NotFoundError
from core.ids import new_id
from core.pictures import reencode
from core.storage.blobs import Container

PICTURE_PIXELS = 512


class ProfileChange(BaseModel):
    """What is left out stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    display_name: DisplayName | None = None
    bio: Biography | None = None
    playback_speed: PlaybackSpeed | None = None
    locale: Locale | None = None
    notifications: Notifications | None = None


class Profiles:
    def __init__(self, store: AccountStore, pictures: Container) -> None:
        self._store = store
        self._pictures = pictures

    async def show(self, user_id: str) -> User:
        """Return the account at the cost of one read. Raises NotFoundError."""
        user = (await self._store.user(user_id)).value
        if user.erasing_at is not None:
            raise NotFoundError("This account is being deleted.")
        return user

    async def change(self, user_id: str, change: ProfileChange) -> User:
        """Set what is given. Raises NotFoundError."""
        fields = {name: getattr(change, name) for name in change.model_fields_set}
        given = {name: value for name, value in fields.items() if value is not None}
        return await self._store.change_user(user_id, lambda user: user.model_copy(update=given))

    async def set_picture(self, user_id: str, content: bytes) -> User:
        """Store a picture, re-encoded as a square WebP, and forget the one before.

        Raises InvalidError if it is no picture.
        """
        picture = await reencode(content, size=PICTURE_PIXELS, square=True)
        picture_id = new_id()
        await self._pictures.write(f"{user_id}/{picture_id}", picture.content, picture.content_type)
        earlier: list[str] = []

        def change(user: User) -> User:
            if user.erasing_at is not None:
                raise NotFoundError("This account is being deleted.")
            earlier[:] = [user.picture] if user.picture else []
            return user.model_copy(update={"picture": picture_id})

        try:
            user = await self._store.change_user(user_id, change)
        except NotFoundError:
            await self._pictures.delete(f"{user_id}/{picture_id}")
            raise
        for name in earlier:
            with suppress(NotFoundError):
                await self._pictures.delete(f"{user_id}/{name}")
        return user

    async def remove_picture(self, user_id: str) -> User:
        """Delete the picture, and what uploads that were cut off have left."""
        await self._pictures.delete_prefix(f"{user_id}/")
        return await self._store.change_user(user_id, lambda user: user.model_copy(update={"picture": None}))

    async def picture(self, user_id: str, picture_id: str) -> bytes:
        """Return a picture as WebP. Raises NotFoundError."""
        return await self._pictures.read(f"{user_id}/{picture_id}")


def picture_url(user: User) -> str | None:
    """Return the path of a user's picture; a new picture has a new one."""
    return None if user.picture is None else f"/pictures/{user.id}/{user.picture}"
