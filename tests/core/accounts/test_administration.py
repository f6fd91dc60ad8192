"""Whatever administrators do to each other at once: one of them stays."""

import asyncio

import pytest

from core.accounts.models import Proof, User
from core.caller import Caller
from core.errors import ConflictError
from tests.core.accounts.conftest import PASSWORD, Build, Instance, caller, somewhere

pytestmark = pytest.mark.usefixtures("quick_hashes")


async def are_administrators(instance: Instance, *people: User) -> list[bool]:
    found = [await instance.user(person.id) for person in people]
    return ["admin" in user.roles and user.disabled_at is None for user in found]


async def act(instance: Instance, what: str, admin: Caller, user_id: str) -> None:
    administration = instance.accounts.administration
    if what == "close":
        await administration.close(admin, user_id, somewhere())
    else:
        await administration.set_roles(admin, user_id, (), somewhere())


@pytest.mark.parametrize("what", ["close", "take the role"])
async def test_of_two_administrators_who_remove_each_other_at_once_one_stays(start: Build, what: str) -> None:
    one, two = start(), start()
    for _ in range(3):
        ada, bob = await one.join(roles=("listener", "admin")), await one.join(roles=("listener", "admin"))
        ends = await asyncio.gather(
            act(one, what, caller(ada, ""), bob.id),
            act(two, what, caller(bob, ""), ada.id),
            return_exceptions=True,
        )
        assert sorted(type(end).__name__ for end in ends) == ["ConflictError", "NoneType"]
        assert sorted(await are_administrators(one, ada, bob)) == [False, True]


async def test_who_was_let_back_in_is_an_administrator_as_before(start: Build) -> None:
    instance = start()
    administration = instance.accounts.administration
    ada = await instance.join(roles=("listener", "admin"))
    bob = await instance.join(roles=("listener", "admin"))
    await administration.close(caller(ada, ""), bob.id, somewhere())
    with pytest.raises(ConflictError, match="taken this role from you"):
        await administration.set_roles(caller(bob, ""), ada.id, (), somewhere())
    await administration.reopen(caller(ada, ""), bob.id, somewhere())
    await administration.set_roles(caller(bob, ""), ada.id, (), somewhere())
    assert await are_administrators(instance, ada, bob) == [False, True]
    await administration.grant_role(ada.email, "admin")
    await administration.close(caller(ada, ""), bob.id, somewhere())
    assert await are_administrators(instance, ada, bob) == [True, False]


async def test_an_administrator_hands_the_role_over_before_leaving(start: Build) -> None:
    instance = start()
    ada = await instance.join(roles=("listener", "admin"))
    with pytest.raises(ConflictError, match="take the role from you first"):
        await instance.holdings.request_erasure(caller(ada, ""), Proof(password=PASSWORD), somewhere())
    assert (await instance.user(ada.id)).erasing_at is None
    bob = await instance.join(roles=("listener", "admin"))
    await instance.accounts.administration.set_roles(caller(bob, ""), ada.id, (), somewhere())
    await instance.holdings.request_erasure(caller(ada, ""), Proof(password=PASSWORD), somewhere())
    assert (await instance.user(ada.id)).erasing_at is not None
