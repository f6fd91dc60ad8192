"""Whatever is cut off between any two storage calls: no half account, and everything can be repeated."""

import io
from datetime import timedelta
from functools import partial

import pyotp
import pytest
from PIL import Image

from core.accounts.factors import Setup
from core.accounts.models import Erase, Export, MakeExport, Proof, Register, SendLink, Sweep, User
from core.accounts.passwords import verify_password
from core.caller import Caller
from core.errors import ConflictError, InvalidError, NotFoundError, UnauthenticatedError
from core.ids import new_id, now
from core.storage.tables import Insert
from tests.core.accounts.conftest import (
    PASSWORD,
    PASSWORD_HASH,
    Build,
    Instance,
    caller,
    files,
    link_row,
    new_email,
    session_row,
    somewhere,
)
from tests.faults import crash_everywhere
from tests.google_issuer import GoogleIssuer

NEW_PASSWORD = "in the plain mainly"
PROOF = Proof(password=PASSWORD)

pytestmark = pytest.mark.usefixtures("at_once", "quick_hashes")


async def nothing(instance: Instance, data: object) -> None:
    """Where the end says it all."""


def new_picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return file.getvalue()


async def is_alive(instance: Instance, one: Caller) -> bool:
    try:
        await instance.sessions.confirm(one)
    except UnauthenticatedError:
        return False
    return True


# Registration


async def listed_nobodies(instance: Instance) -> set[str]:
    """Return who is in the list of new accounts and has none."""
    listed = {str(row["user_id"]) for row in await instance.rows("users", "PartitionKey ge 'joined_'")}
    return listed - {str(row["id"]) for row in await instance.rows("users", "RowKey eq 'user'")}


async def test_a_registration_cut_off_is_nothing_or_all(start: Build) -> None:
    async def prepare(_: Instance) -> str:
        return new_email()

    async def register(instance: Instance, email: str) -> None:
        await instance.registration.register(email, PASSWORD, None, somewhere())

    async def check(instance: Instance, email: str) -> None:
        claim = await instance.claim(email)
        if claim is not None:
            assert (await instance.user(claim.user_id)).email == email, "an address that is lost"

    async def again(instance: Instance, email: str) -> None:
        claimed = await instance.claim(email) is not None
        try:
            await register(instance, email)
            assert not claimed, "a second account"
        except ConflictError:
            assert claimed, "an address that cannot be had"

    async def check_done(instance: Instance, email: str) -> None:
        await instance.log_in(email)
        await instance.work_off()
        claim = await instance.claim(email)
        assert claim is not None
        assert await instance.people(email) == [claim.user_id], "what was cut off was not swept up"
        assert len(await instance.rows("users", "user_id eq @id", id=claim.user_id)) == 1

    survivor = start()
    before = await listed_nobodies(survivor)
    places = await crash_everywhere(start, prepare, register, check, again, check_done, in_sequence=True)
    assert len(places) >= 7
    assert await listed_nobodies(survivor) == before


async def test_a_queued_registration_cut_off_comes_again_and_ends_in_one_mail(start: Build) -> None:
    async def prepare(_: Instance) -> Register:
        origin, at = somewhere(), now()
        return Register(
            id=new_id(at),
            at=at,
            email=new_email(),
            password_hash=PASSWORD_HASH,
            display_name="Ada",
            address=origin.address,
            request_id=origin.request_id,
        )

    async def finish(instance: Instance, work: Register) -> None:
        await instance.registration.finish(work)

    async def check(instance: Instance, work: Register) -> None:
        claim = await instance.claim(work.email)
        if claim is not None:
            assert (await instance.user(claim.user_id)).provisional

    async def check_done(instance: Instance, work: Register) -> None:
        (user_id,) = await instance.people(work.email)
        await instance.registration.verify(await instance.mailed_token(work.email), somewhere())
        await finish(instance, work)  # a message that comes once more changes nothing
        claim = await instance.claim(work.email)
        assert claim is not None
        assert claim.user_id == user_id
        user = await instance.user(user_id)
        assert user.email_verified
        assert not user.provisional
        assert len(await instance.mails(work.email)) == 1

    build = partial(start, REQUIRE_VERIFIED_EMAIL="true")
    assert (
        len(await crash_everywhere(build, prepare, finish, check, finish, check_done, in_sequence=True)) >= 8
    )


async def test_a_verification_cut_off_can_be_repeated(start: Build) -> None:
    async def prepare(instance: Instance) -> tuple[User, str]:
        email, secret = new_email(), new_id()
        row = link_row("verify", email, secret)
        user = await instance.join(row, email=email, provisional=True, email_verified=False)
        return user, f"{user.id}.{secret}"

    async def verify(instance: Instance, data: tuple[User, str]) -> None:
        await instance.registration.verify(data[1], somewhere())

    async def again(instance: Instance, data: tuple[User, str]) -> None:
        verified = (await instance.user(data[0].id)).email_verified
        try:
            await verify(instance, data)
            assert not verified, "a link that works twice"
        except InvalidError:
            assert verified, "a link that is lost"

    async def check_done(instance: Instance, data: tuple[User, str]) -> None:
        user = await instance.user(data[0].id)
        assert user.email_verified
        assert not user.provisional

    await crash_everywhere(start, prepare, verify, nothing, again, check_done, in_sequence=True)


# Passwords

Reset = tuple[User, str, Caller]
Change = tuple[User, Caller, Caller]


async def test_the_mail_for_a_reset_comes_once_and_its_link_works(start: Build) -> None:
    async def prepare(instance: Instance) -> tuple[User, SendLink]:
        user, at = await instance.join(), now()
        return user, SendLink(id=new_id(at), at=at, purpose="reset", email=user.email)

    async def send(instance: Instance, data: tuple[User, SendLink]) -> None:
        await instance.recovery.send_reset_link(data[1])

    async def check_done(instance: Instance, data: tuple[User, SendLink]) -> None:
        token = await instance.mailed_token(data[0].email)
        await instance.recovery.reset_password(token, NEW_PASSWORD, somewhere())
        await send(instance, data)
        with pytest.raises(InvalidError):
            await instance.recovery.reset_password(token, PASSWORD, somewhere())

    await crash_everywhere(start, prepare, send, nothing, send, check_done, in_sequence=True)


async def test_a_reset_cut_off_is_nothing_or_all(start: Build) -> None:
    """The new password and the end of all sessions are one write."""

    async def prepare(instance: Instance) -> Reset:
        email, secret, session = new_email(), new_id(), new_id()
        user = await instance.join(link_row("reset", email, secret), session_row(session), email=email)
        return user, f"{user.id}.{secret}", caller(user, session)

    async def reset(instance: Instance, data: Reset) -> None:
        await instance.recovery.reset_password(data[1], NEW_PASSWORD, somewhere())

    async def is_reset(instance: Instance, data: Reset) -> bool:
        found = await instance.user(data[0].id)
        assert await verify_password(PASSWORD, found.password_hash) == await is_alive(instance, data[2])
        return await verify_password(NEW_PASSWORD, found.password_hash)

    async def again(instance: Instance, data: Reset) -> None:
        done = await is_reset(instance, data)
        try:
            await reset(instance, data)
            assert not done, "a link that works twice"
        except InvalidError:
            assert done, "a link that is lost"

    async def check_done(instance: Instance, data: Reset) -> None:
        assert await is_reset(instance, data)

    await crash_everywhere(start, prepare, reset, nothing, again, check_done, in_sequence=True)


async def test_a_change_of_the_password_cut_off_is_nothing_or_all(start: Build) -> None:
    async def prepare(instance: Instance) -> Change:
        one, other = new_id(), new_id()
        user = await instance.join(session_row(one), session_row(other))
        return user, caller(user, one), caller(user, other)

    async def change(instance: Instance, data: Change) -> None:
        await instance.recovery.change_password(data[1], PROOF, NEW_PASSWORD, somewhere())

    async def is_changed(instance: Instance, data: Change) -> bool:
        assert await is_alive(instance, data[1]), "who changes the password stays signed in"
        changed = await verify_password(NEW_PASSWORD, (await instance.user(data[0].id)).password_hash)
        assert changed != await is_alive(instance, data[2])
        return changed

    async def again(instance: Instance, data: Change) -> None:
        done = await is_changed(instance, data)
        try:
            await change(instance, data)
            assert not done
        except UnauthenticatedError:
            assert done, "neither password is right"

    async def check_done(instance: Instance, data: Change) -> None:
        assert await is_changed(instance, data)

    await crash_everywhere(start, prepare, change, nothing, again, check_done, in_sequence=True)


# Addresses

Move = tuple[User, str, str]


async def prepare_move(instance: Instance) -> Move:
    email, secret = new_email(), new_id()
    user = await instance.join(link_row("email", email, secret))
    return user, email, f"{user.id}.{secret}"


async def move(instance: Instance, data: Move) -> None:
    await instance.recovery.confirm_email(data[2], somewhere())


async def check_move(instance: Instance, data: Move) -> bool:
    """Tell whether somebody has moved; one address leads to the account, and the other to nobody."""
    user, email, _ = data
    moved = (await instance.user(user.id)).email == email
    owner = await instance.store.owner(email if moved else user.email)
    assert owner is not None, "an account without an address"
    assert owner.value.id == user.id
    assert await instance.store.owner(user.email if moved else email) is None
    return moved


async def check_swept(instance: Instance, data: Move) -> None:
    """After a while the address that is not theirs is anybody's, and nothing tells that it ever was."""
    moved = await check_move(instance, data)
    other, own = (data[0].email, data[1]) if moved else (data[1], data[0].email)
    await instance.age_claim(other)
    await instance.work_off()
    assert await instance.claim(other) is None
    assert await instance.claim(own) is not None


async def test_a_move_to_another_address_cut_off_is_nothing_or_all(start: Build) -> None:
    async def again(instance: Instance, data: Move) -> None:
        moved = await check_move(instance, data)
        try:
            await move(instance, data)
            assert not moved, "a link that works twice"
        except InvalidError:
            assert moved, "a link that is lost"

    async def check_done(instance: Instance, data: Move) -> None:
        assert await check_move(instance, data)
        await check_swept(instance, data)

    places = await crash_everywhere(start, prepare_move, move, nothing, again, check_done, in_sequence=True)
    assert len(places) >= 6


async def test_a_move_that_is_given_up_leaves_the_address_to_others(start: Build) -> None:
    """A claim that was taken and never used is void after an hour, and soon after it is gone."""
    instance = start()
    user, email, token = await prepare_move(instance)
    await instance.store.claim(email, user.id, None)
    work = Sweep(id=new_id(), at=now(), user_id=user.id, emails=(user.email, email))
    await instance.registration.sweep(work)
    assert await instance.claim(email) is not None, "it may be under way"
    await instance.age_claim(email)
    await instance.registration.sweep(work)
    assert await instance.claim(email) is None
    assert await check_move(instance, (user, email, token)) is False


# Google


async def test_a_first_sign_in_with_google_cut_off_is_nothing_or_all(
    start: Build, google: GoogleIssuer
) -> None:
    async def prepare(_: Instance) -> tuple[str, str]:
        return new_email(), new_id()

    async def sign_in(instance: Instance, data: tuple[str, str]) -> None:
        await instance.sessions.log_in_with_google(
            google.token(email=data[0], sub=data[1]), None, somewhere()
        )

    async def check(instance: Instance, data: tuple[str, str]) -> None:
        claim = await instance.claim(data[0])
        if claim is not None:
            assert (await instance.user(claim.user_id)).google_subject == data[1]

    async def check_done(instance: Instance, data: tuple[str, str]) -> None:
        await instance.work_off()
        owner = await instance.store.google_owner(data[1])
        assert owner is not None
        assert await instance.people(data[0]) == [owner.value.id], "what was cut off was not swept up"

    build = partial(start, **google.settings)
    await crash_everywhere(build, prepare, sign_in, check, sign_in, check_done, in_sequence=True)


async def test_linking_google_cut_off_can_be_repeated(start: Build, google: GoogleIssuer) -> None:
    async def prepare(instance: Instance) -> tuple[User, str]:
        return await instance.join(), new_id()

    async def sign_in(instance: Instance, data: tuple[User, str]) -> None:
        token = google.token(email=data[0].email, sub=data[1], hd="example.com")
        await instance.sessions.log_in_with_google(token, None, somewhere())

    async def check_done(instance: Instance, data: tuple[User, str]) -> None:
        owner = await instance.store.google_owner(data[1])
        assert owner is not None
        assert owner.value.id == data[0].id
        assert owner.value.password_hash == PASSWORD_HASH

    build = partial(start, **google.settings)
    await crash_everywhere(build, prepare, sign_in, nothing, sign_in, check_done, in_sequence=True)


# The end


async def check_gone(instance: Instance, user: User) -> None:
    """Nothing is left of a person but one receipt and the log."""
    assert await instance.rows("users", "PartitionKey eq @id or user_id eq @id", id=user.id) == []
    assert await instance.rows("accounts", "user_id eq @id", id=user.id) == []
    for container in (instance.pictures, instance.exports):
        assert await files(container, user.id) == []
    (mail,) = await instance.mails(user.email)
    assert (await instance.log_of(user.id))[-1].detail in mail


async def test_a_wish_to_be_deleted_cut_off_is_nothing_or_all(start: Build) -> None:
    async def prepare(instance: Instance) -> tuple[User, Caller]:
        session = new_id()
        user = await instance.join(session_row(session))
        return user, caller(user, session)

    async def request(instance: Instance, data: tuple[User, Caller]) -> None:
        await instance.holdings.request_erasure(data[1], PROOF, somewhere())

    async def wait(instance: Instance, data: tuple[User, Caller]) -> None:
        """Either the account is as it was, or it goes without another word of its owner."""
        user, one = data
        ends = (await instance.user(user.id)).erasing_at is not None
        assert ends != await is_alive(instance, one)
        await instance.work_off()
        if not ends:
            assert await is_alive(instance, one)
            assert await instance.store.owner(user.email) is not None
            assert await instance.mails(user.email) == []
            await request(instance, data)

    async def check_done(instance: Instance, data: tuple[User, Caller]) -> None:
        await instance.work_off()
        await check_gone(instance, data[0])

    await crash_everywhere(start, prepare, request, nothing, wait, check_done, in_sequence=True)


async def test_a_deletion_cut_off_goes_on_until_all_is_gone(start: Build) -> None:
    async def prepare(instance: Instance) -> tuple[User, Erase]:
        at, subject = now(), new_id()
        export = Insert(f"export_{new_id()}", Export(id=new_id(), created_at=at))
        user = await instance.join(
            export, session_row(new_id()), google_subject=subject, picture=new_id(), erasing_at=at
        )
        await instance.store.claim_google(subject, user.id)
        await instance.pictures.write(f"{user.id}/{user.picture}", b"picture", "image/webp")
        await instance.exports.write(f"{user.id}/{new_id()}.zip", b"zip", "application/zip")
        return user, Erase(id=new_id(at), at=at, user_id=user.id)

    async def erase(instance: Instance, data: tuple[User, Erase]) -> None:
        await instance.holdings.erase(data[1])

    async def check(instance: Instance, data: tuple[User, Erase]) -> None:
        claim = await instance.claim(data[0].email)
        assert claim is None or (await instance.user(claim.user_id)).erasing_at, "an address that is lost"

    async def check_done(instance: Instance, data: tuple[User, Erase]) -> None:
        await check_gone(instance, data[0])

    assert len(await crash_everywhere(start, prepare, erase, check, erase, check_done, in_sequence=True)) >= 9


async def test_only_the_wish_that_counted_is_carried_out_with_one_receipt(start: Build) -> None:
    instance = start()
    user = await instance.join(session_row("there"))
    cut_off = now() - timedelta(minutes=2)
    one = caller(user, "there")
    receipt = await instance.holdings.request_erasure(one, PROOF, somewhere())
    assert await instance.holdings.request_erasure(one, PROOF, somewhere()) == receipt
    await instance.holdings.erase(Erase(id=new_id(cut_off), at=cut_off, user_id=user.id))
    assert await instance.mails(user.email) == []
    await instance.work_off()
    (mail,) = await instance.mails(user.email)
    assert receipt.receipt_id in mail


async def test_nothing_is_written_for_who_is_going_and_what_was_is_removed(start: Build) -> None:
    instance = start()
    user = await instance.join(erasing_at=now())
    one = caller(user, "")
    with pytest.raises(NotFoundError):
        await instance.holdings.request_export(one, somewhere())
    with pytest.raises(NotFoundError):
        await instance.store.add(user.id, link_row("email", new_email(), ""))
    with pytest.raises(NotFoundError):
        await instance.accounts.profiles.set_picture(user.id, new_picture())
    assert await files(instance.pictures, user.id) == []
    await instance.exports.write(f"{user.id}/{new_id()}.zip", b"zip", "application/zip")
    await instance.holdings.make_export(MakeExport(id=new_id(), at=now(), user_id=user.id))
    assert await files(instance.exports, user.id) == []


# The rest

Setting = tuple[Caller, Setup]


async def test_a_copy_of_everything_cut_off_is_asked_for_again(start: Build) -> None:
    async def prepare(instance: Instance) -> tuple[User, Caller]:
        user = await instance.join()
        return user, caller(user, new_id())

    async def make(instance: Instance, data: tuple[User, Caller]) -> None:
        export = await instance.holdings.request_export(data[1], somewhere())
        await instance.holdings.make_export(
            MakeExport(id=export.id, at=export.created_at, user_id=data[0].id)
        )

    async def again(instance: Instance, data: tuple[User, Caller]) -> None:
        await instance.holdings.request_export(data[1], somewhere())
        await instance.work_off()

    async def check_done(instance: Instance, data: tuple[User, Caller]) -> None:
        exports = await instance.holdings.exports(data[1])
        assert {export.status for export in exports} == {"ready"}
        names = [f"{data[0].id}/{export.id}.zip" for export in exports]
        assert await files(instance.exports, data[0].id) == sorted(names)
        assert len(await instance.mails(data[0].email)) == len(names)

    await crash_everywhere(start, prepare, make, nothing, again, check_done, in_sequence=True)


async def test_a_second_factor_never_comes_without_recovery_codes(start: Build) -> None:
    async def prepare(instance: Instance) -> Setting:
        user = await instance.join()
        one = caller(user, new_id())
        return one, await instance.accounts.factors.set_up(one, PROOF, somewhere())

    async def confirm(instance: Instance, data: Setting) -> None:
        code = pyotp.TOTP(data[1].secret).now()
        await instance.accounts.factors.confirm(data[0], code, somewhere())

    async def is_on(instance: Instance, data: Setting) -> bool:
        factor = (await instance.user(data[0].user_id)).second_factor
        assert factor is not None
        assert len(factor.recovery) == (10 if factor.confirmed else 0)
        return factor.confirmed

    async def again(instance: Instance, data: Setting) -> None:
        done = await is_on(instance, data)
        try:
            await confirm(instance, data)
            assert not done
        except ConflictError:
            assert done

    async def check_done(instance: Instance, data: Setting) -> None:
        assert await is_on(instance, data)

    await crash_everywhere(start, prepare, confirm, nothing, again, check_done, in_sequence=True)


async def test_a_picture_cut_off_is_the_old_or_the_new_one_and_can_be_removed(start: Build) -> None:
    async def prepare(instance: Instance) -> User:
        user = await instance.join(picture=new_id())
        await instance.pictures.write(f"{user.id}/{user.picture}", b"picture", "image/webp")
        return user

    async def set_and_remove(instance: Instance, user: User) -> None:
        await instance.accounts.profiles.set_picture(user.id, new_picture())
        await instance.accounts.profiles.remove_picture(user.id)

    async def again(instance: Instance, user: User) -> None:
        await instance.accounts.profiles.remove_picture(user.id)

    async def check_done(instance: Instance, user: User) -> None:
        assert (await instance.user(user.id)).picture is None
        assert await files(instance.pictures, user.id) == []

    await crash_everywhere(start, prepare, set_and_remove, nothing, again, check_done, in_sequence=True)
