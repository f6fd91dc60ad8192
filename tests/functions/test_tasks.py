"""Private tasks over the running app: made, changed together, deleted together, and every version of them."""

import asyncio
import json
from typing import Any

import pytest
import pytest_asyncio

from core.ids import new_id
from tests.aloud import Aloud
from tests.person import Person

PROMPTS = [
    {"index": 0, "start_seconds": 0.0, "end_seconds": 1.5, "text": "It was a bright cold day."},
    {"index": 1, "start_seconds": 1.5, "end_seconds": 3.0, "text": "The clocks were striking."},
]


@pytest_asyncio.fixture(scope="module")
async def ann(aloud: Aloud) -> Person:
    return await Person.join(aloud)


@pytest_asyncio.fixture(scope="module")
async def ben(aloud: Aloud) -> Person:
    return await Person.join(aloud)


async def add(person: Person, **content: Any) -> dict[str, Any]:
    status, task, _ = await person.post("/tasks", **{"name": "Interview", **content})
    assert status == 201, task
    return dict(task)


async def history(person: Person, task_id: str) -> list[tuple[int, str, str, int]]:
    versions = (await person.get(f"/tasks/{task_id}/history"))["items"]
    return [(v["version"], v["cause"], v["name"], v["prompts_count"]) for v in versions]


async def test_a_task_is_shown_as_it_was_made(ann: Person) -> None:
    task = await add(ann, prompts=PROMPTS, tags=["Work", "work", " Home "])
    shown = await ann.get(f"/tasks/{task['id']}")
    assert shown == task
    assert (shown["name"], shown["tags"], shown["status"]) == ("Interview", ["work", "home"], "waiting")
    assert shown["prompts"] == PROMPTS
    assert shown["beginning"] == "It was a bright cold day. The clocks were striking."


async def test_every_change_is_a_version_and_any_of_them_comes_back(ann: Person) -> None:
    task = await add(ann, prompts=PROMPTS)
    at = f"/tasks/{task['id']}"
    status, changed, headers = await ann.call("PUT", at, json={"name": "Second", "prompts": PROMPTS[:1]})
    assert (status, changed["version"], headers["ETag"]) == (200, 2, '"2"')
    status, same, _ = await ann.call("PUT", at, json={"name": "Second"})
    assert (status, same["version"]) == (200, 2)

    status, restored, _ = await ann.post(f"{at}/history/1/restore")
    assert (status, restored["name"], restored["prompts"]) == (200, "Interview", PROMPTS)
    assert await history(ann, task["id"]) == [
        (3, "restored", "Interview", 2),
        (2, "edited", "Second", 1),
        (1, "created", "Interview", 2),
    ]
    assert (await ann.get(f"{at}/history"))["items"][0]["restored_from"] == 1
    for number in ("9", "0", "x", "1e3"):
        assert (await ann.post(f"{at}/history/{number}/restore"))[0] == 404


async def test_a_change_of_a_version_that_is_over_is_412(ann: Person) -> None:
    at = f"/tasks/{(await add(ann))['id']}"
    for name, if_match, expected in (("A", '"1"', 200), ("B", '"1"', 412), ("C", '"2"', 200)):
        status, _, _ = await ann.call("PUT", at, json={"name": name}, headers={"If-Match": if_match})
        assert status == expected, name
    assert (await ann.get(at))["name"] == "C"


async def test_changes_at_once_are_all_kept_in_the_history(ann: Person) -> None:
    task = await add(ann)
    names = [f"Name {number}" for number in range(4)]
    answers = await asyncio.gather(
        *(ann.call("PUT", f"/tasks/{task['id']}", json={"name": name}) for name in names)
    )
    assert [status for status, _, _ in answers] == [200] * 4
    versions = await history(ann, task["id"])
    assert [version for version, *_ in versions] == [5, 4, 3, 2, 1]
    assert {name for _, _, name, _ in versions} == {*names, "Interview"}


async def test_forty_five_tasks_change_and_go_together(ann: Person) -> None:
    tag = new_id()
    tasks = await asyncio.gather(*(add(ann, tags=[tag]) for _ in range(45)))
    items = [{"id": task["id"], "name": f"Part {n}", "prompts": PROMPTS} for n, task in enumerate(tasks)]
    status, changed, _ = await ann.call("PUT", "/tasks", json={"items": items})
    assert status == 200, changed
    assert [item["name"] for item in changed["items"]] == [item["name"] for item in items]
    listed = (await ann.get(f"/tasks?tag={tag}&limit=100"))["items"]
    assert {item["name"]: item["prompts_count"] for item in listed} == {f"Part {n}": 2 for n in range(45)}

    ids = [task["id"] for task in tasks]
    assert (await ann.call("DELETE", "/tasks", json={"ids": ids}))[0] == 204
    assert (await ann.get(f"/tasks?tag={tag}"))["items"] == []
    assert (await ann.call("GET", f"/tasks/{ids[7]}"))[0] == 404
    await nothing_left(ann, ids[7])


async def nothing_left(person: Person, task_id: str) -> None:
    """Wait until what belonged to a deleted task is gone from the storage."""
    user_id = (await person.get("/users/me"))["id"]
    private = person.aloud.blobs.get_container_client("private")
    async with asyncio.timeout(20):
        while [name async for name in private.list_blob_names(name_starts_with=f"{user_id}/{task_id}/")]:
            await asyncio.sleep(0.1)


async def test_one_foreign_task_among_forty_five_and_nothing_changes(ann: Person, ben: Person) -> None:
    tag = new_id()
    own = await asyncio.gather(*(add(ann, tags=[tag]) for _ in range(44)))
    before = (await ann.get(f"/tasks?tag={tag}&limit=100"))["items"]
    foreign = (await add(ben))["id"]
    for other in (foreign, new_id()):
        ids = [task["id"] for task in own]
        ids.insert(30, other)
        items = [{"id": task_id, "name": "Changed", "prompts": PROMPTS} for task_id in ids]
        for method, body in (("PUT", {"items": items}), ("DELETE", {"ids": ids})):
            status, problem, _ = await ann.call(method, "/tasks", json=body)
            assert status == 404
            assert other in problem["detail"]
            assert (await ann.get(f"/tasks?tag={tag}&limit=100"))["items"] == before
    assert (await ben.get(f"/tasks/{foreign}"))["name"] == "Interview"


async def test_forty_six_tasks_are_too_many_and_two_of_one_too(ann: Person) -> None:
    task_id = (await add(ann))["id"]
    many = [new_id() for _ in range(46)]
    for ids in (many, [task_id, task_id], []):
        items = [{"id": each, "name": "Changed"} for each in ids]
        for method, body in (("PUT", {"items": items}), ("DELETE", {"ids": ids})):
            status, problem, _ = await ann.call(method, "/tasks", json=body)
            assert (status, problem["errors"][0]["field"]) == (422, next(iter(body)))
    assert (await ann.get(f"/tasks/{task_id}"))["version"] == 1


async def test_lists_are_newest_first_in_pages_and_by_what_is_asked_for(ben: Person) -> None:
    tag = new_id()
    made = [await add(ben, name=f"Lecture {n}", tags=[tag]) for n in range(5)]
    seen, cursor = [], ""
    while cursor is not None:
        page = await ben.get(f"/tasks?tag={tag}&limit=2" + (f"&cursor={cursor}" if cursor else ""))
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [task["id"] for task in reversed(made)]
    await ben.call("PUT", f"/tasks/{made[3]['id']}", json={"prompts": PROMPTS})
    for query, expected in (
        ("text=lecture 2", [made[2]["id"]]),
        ("text=BRIGHT", [made[3]["id"]]),
        ("status=ready", []),
        ("status=waiting&text=lecture 4", [made[4]["id"]]),
    ):
        found = (await ben.get(f"/tasks?tag={tag.upper()}&{query}"))["items"]
        assert [item["id"] for item in found] == expected, query


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"prompts": [PROMPTS[1], PROMPTS[0]]}, "prompts"),
        ({"prompts": [PROMPTS[0], PROMPTS[0]]}, "prompts"),
        ({"prompts": [{**PROMPTS[0], "end_seconds": -1}]}, "prompts.0.end_seconds"),
        ({"prompts": [{**PROMPTS[0], "start_seconds": 9}]}, "prompts.0"),
        ({"prompts": [{**PROMPTS[0], "speaker": "x"}]}, "prompts.0.speaker"),
        ({"name": " "}, "name"),
        ({"tags": ["x"] * 21}, "tags"),
        ({"owner_id": "me"}, "owner_id"),
        ({"status": "ready"}, "status"),
    ],
)
async def test_what_is_wrong_is_named(ann: Person, content: dict[str, Any], field: str) -> None:
    status, problem, _ = await ann.post("/tasks", **{"name": "Interview", **content})
    assert (status, problem["errors"][0]["field"]) == (422, field)


async def test_a_copy_of_everything_holds_the_tasks(aloud: Aloud) -> None:
    person = await Person.join(aloud)
    task = await add(person, prompts=PROMPTS)
    await person.call("PUT", f"/tasks/{task['id']}", json={"prompts": []})
    copy = json.loads((await person.export()).read(f"tasks/{task['id']}.json"))
    assert [len(version["prompts"]) for version in copy["versions"]] == [2, 0]
