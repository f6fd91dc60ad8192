"""Rows in Azure Table Storage, as pydantic models: read, written, changed and listed within Azure's limits.

Azurite enforces few of the limits, so this adapter does (sizes from the product's documentation).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

from azure.core import MatchConditions
from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import EdmType, EntityProperty, TableTransactionError, UpdateMode
from azure.data.tables.aio import TableClient
from pydantic import BaseModel

from core.errors import ConflictError, NotFoundError, StaleError, StorageLimitError, UnavailableError
from core.ids import inverted, is_key
from core.storage.failures import made_on_demand, named, translated

M = TypeVar("M", bound=BaseModel)

MAX_OPERATIONS = 100
MAX_PROPERTIES = 252
MAX_ENTITY_BYTES = 1024 * 1024
MAX_TRANSACTION_BYTES = 4 * 1024 * 1024
MAX_PROPERTY_CHARACTERS = 32 * 1024
_UPDATE_TRIES = 20
_PAGE_ROWS = 1000
_SCALARS = (str, bool, int, float, datetime, bytes)


@dataclass(frozen=True)
class Stored(Generic[M]):
    """A row as it was read: its model, where it stands, and the ETag that a change has to name."""

    value: M
    partition: str
    key: str
    etag: str


@dataclass(frozen=True)
class Insert:
    """In a transaction: add a row; ConflictError if the key is taken."""

    key: str
    value: BaseModel


@dataclass(frozen=True)
class Replace:
    """In a transaction: replace a row as it was read; StaleError if it has changed."""

    stored: Stored[Any]
    value: BaseModel


@dataclass(frozen=True)
class Put:
    """In a transaction: write a row whether or not it exists."""

    key: str
    value: BaseModel


@dataclass(frozen=True)
class Delete:
    """In a transaction: remove a row as it was read; StaleError if it has changed, NotFoundError if gone."""

    stored: Stored[Any]


@dataclass(frozen=True)
class Remove:
    """In a transaction: remove a row as it is; NotFoundError if gone. Another operation is to guard it."""

    key: str


Operation = Insert | Replace | Put | Delete | Remove


def _is_scalar(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):
        return all(_is_scalar(part) for part in get_args(annotation) if part is not NoneType)
    if get_origin(annotation) is not None and str(get_origin(annotation)) == "typing.Literal":
        return True
    return isinstance(annotation, type) and issubclass(annotation, _SCALARS)


@cache
def _json_fields(shape: type[BaseModel]) -> frozenset[str]:
    return frozenset(name for name, field in shape.model_fields.items() if not _is_scalar(field.annotation))


def to_row(value: BaseModel, partition: str, key: str) -> dict[str, Any]:
    """Turn a model into an entity: scalars as they are, the rest as JSON text, split where it is long."""
    for part in (partition, key):
        if not is_key(part):
            raise StorageLimitError(f"{part!r} cannot be a key of a row.")
    row: dict[str, Any] = {"PartitionKey": partition, "RowKey": key, "schema": 1}
    nested = _json_fields(type(value))
    for name, content in value.model_dump(mode="python").items():
        if content is None:
            continue
        if name in nested:
            text = json.dumps(
                value.model_dump(mode="json", include={name})[name], separators=(",", ":"), ensure_ascii=False
            )
            step = MAX_PROPERTY_CHARACTERS // 2  # a character outside the basic plane counts twice
            row[name] = text[:step]
            for number, start in enumerate(range(step, len(text), step), 1):
                row[f"{name}__{number}"] = text[start : start + step]
        elif isinstance(content, int) and not isinstance(content, bool) and abs(content) >= 2**31:
            row[name] = EntityProperty(content, EdmType.INT64)
        else:
            row[name] = content
    _check_size(row)
    return row


def _check_size(row: dict[str, Any]) -> int:
    if len(row) > MAX_PROPERTIES:
        raise StorageLimitError(f"A row of {len(row)} properties; Azure takes {MAX_PROPERTIES}.")
    total = 0
    for name, content in row.items():
        size = 8
        if isinstance(content, str):
            size = len(content.encode("utf-16-le"))
            if size > MAX_PROPERTY_CHARACTERS * 2:
                raise StorageLimitError(
                    f"Property {name} has {size} bytes; Azure takes {MAX_PROPERTY_CHARACTERS * 2}."
                )
        elif isinstance(content, bytes):
            size = len(content)
            if size > MAX_PROPERTY_CHARACTERS * 2:
                raise StorageLimitError(
                    f"Property {name} has {size} bytes; Azure takes {MAX_PROPERTY_CHARACTERS * 2}."
                )
        total += size + len(name) * 2 + 8
    if total > MAX_ENTITY_BYTES:
        raise StorageLimitError(f"A row of {total} bytes; Azure takes {MAX_ENTITY_BYTES}.")
    return total


def from_row(shape: type[M], row: dict[str, Any]) -> M:
    """Turn an entity into a model; the inverse of `to_row`."""
    content: dict[str, Any] = {}
    nested = _json_fields(shape)
    for name in shape.model_fields:
        if name not in row:
            if shape.model_fields[name].is_required():
                content[name] = None  # `to_row` leaves out what is None
            continue
        value = row[name]
        if isinstance(value, EntityProperty):
            value = value.value
        if name in nested:
            text, number = value, 1
            while (more := row.get(f"{name}__{number}")) is not None:
                text, number = text + more, number + 1
            value = json.loads(text)
        content[name] = value
    return shape.model_validate(content)


class Rows:
    """The rows of one partition as they were at one reading, of whatever shapes."""

    def __init__(self, rows: dict[str, dict[str, Any]]) -> None:
        self._rows = rows

    def find(self, shape: type[M], key: str) -> Stored[M] | None:
        """Return the row, or None where it is absent."""
        row = self._rows.get(key)
        return None if row is None else _stored(shape, row)


def _stored(shape: type[M], row: Any) -> Stored[M]:
    return Stored(from_row(shape, row), row["PartitionKey"], row["RowKey"], str(row.metadata["etag"]))


class Table:
    """One table; made on first use."""

    def __init__(self, name: str, client: Callable[[], TableClient]) -> None:
        self._name = name
        self._open = client
        self._opened: TableClient | None = None

    @property
    def _client(self) -> TableClient:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    async def find(self, shape: type[M], partition: str, key: str) -> Stored[M] | None:
        """Return the row, or None where it is absent."""
        if not (is_key(partition) and is_key(key)):
            return None
        with translated(f"row {key} of {self._name}"):
            try:
                row = await self._client.get_entity(partition, key)
            except ResourceNotFoundError:
                return None
        return _stored(shape, row)

    async def get(self, shape: type[M], partition: str, key: str) -> Stored[M]:
        """Return the row. Raises NotFoundError."""
        found = await self.find(shape, partition, key)
        if found is None:
            raise named(NotFoundError, f"row {key} of {self._name}")
        return found

    async def partition(self, partition: str) -> Rows:
        """Read all rows of a small partition at once: one call for up to a thousand rows."""
        rows = self._query("PartitionKey eq @partition", {"partition": partition}, _PAGE_ROWS)
        return Rows({row["RowKey"]: row async for row in rows})

    async def insert(self, value: BaseModel, partition: str, key: str) -> None:
        """Add a row. Raises ConflictError if the key is taken."""
        row = to_row(value, partition, key)
        with translated(f"row {key} of {self._name}"):
            await made_on_demand(lambda: self._client.create_entity(row), self._client.create_table)

    async def put(self, value: BaseModel, partition: str, key: str) -> None:
        """Write a row whether or not it exists."""
        row = to_row(value, partition, key)
        with translated(f"row {key} of {self._name}"):
            await made_on_demand(
                lambda: self._client.upsert_entity(row, mode=UpdateMode.REPLACE), self._client.create_table
            )

    async def replace(self, stored: Stored[M], value: M) -> Stored[M]:
        """Replace a row as it was read. Raises StaleError if it has changed, NotFoundError if it is gone."""
        row = to_row(value, stored.partition, stored.key)
        with translated(f"row {stored.key} of {self._name}"):
            answer = await self._client.update_entity(
                row, mode=UpdateMode.REPLACE, etag=stored.etag, match_condition=MatchConditions.IfNotModified
            )
        return Stored(value, stored.partition, stored.key, answer["etag"])

    async def update(
        self,
        shape: type[M],
        partition: str,
        key: str,
        change: Callable[[M], M | None],
        also: Sequence[Operation] = (),
        before: Callable[[M, M], Awaitable[None]] | None = None,
    ) -> M:
        """Read, apply the pure function `change`, replace by ETag; again while others win the race.

        `change` may return None (or an equal value) to leave the row as it is; otherwise the operations of
        `also`, in the same partition, are done with the replacement or not at all. `before` is awaited with
        the old and the new value ahead of each try. Returns the row's value afterwards.
        Raises NotFoundError; UnavailableError after 20 lost races.
        """
        for _ in range(_UPDATE_TRIES):
            stored = await self.get(shape, partition, key)
            value = change(stored.value)
            if value is None or (value == stored.value and not also):
                return stored.value
            if before is not None:
                await before(stored.value, value)
            try:
                if also:
                    await self.transact(partition, [Replace(stored, value), *also])
                else:
                    await self.replace(stored, value)
            except StaleError:
                continue
            return value
        error = UnavailableError("This changes too often at the moment.", retry_after=1)
        error.add_note(f"row {key} of {self._name}")
        raise error

    async def delete(self, partition: str, key: str) -> None:
        """Remove a row; absent is fine."""
        with translated(f"row {key} of {self._name}"):
            await self._client.delete_entity(partition, key)

    async def delete_unchanged(self, stored: Stored[Any]) -> bool:
        """Remove a row if it still is as it was read; tell whether it is gone."""
        with translated(f"row {stored.key} of {self._name}"):
            try:
                await self._client.delete_entity(
                    stored.partition,
                    stored.key,
                    etag=stored.etag,
                    match_condition=MatchConditions.IfNotModified,
                )
            except ResourceModifiedError:
                return False
        return True

    async def transact(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        """Do all of the operations or none, in one partition, at most 100 and 4 MiB of them, one a row.

        Returns the ETags that the rows have now; empty for one that is removed.
        Raises ConflictError, StaleError or NotFoundError for the first that cannot be done.
        """
        if not operations:
            return []
        if len(operations) > MAX_OPERATIONS:
            raise StorageLimitError(
                f"{len(operations)} operations in a transaction; Azure takes {MAX_OPERATIONS}."
            )
        batch: list[Any] = []
        keys: set[str] = set()
        total = 0
        for operation in operations:
            match operation:
                case Insert(key, value):
                    row = to_row(value, partition, key)
                    batch.append(("create", row))
                case Put(key, value):
                    row = to_row(value, partition, key)
                    batch.append(("upsert", row, {"mode": UpdateMode.REPLACE}))
                case Replace(stored, value):
                    row = to_row(value, partition, stored.key)
                    conditions = {"etag": stored.etag, "match_condition": MatchConditions.IfNotModified}
                    batch.append(("update", row, {"mode": UpdateMode.REPLACE, **conditions}))
                case Delete(stored):
                    row = {"PartitionKey": partition, "RowKey": stored.key}
                    conditions = {"etag": stored.etag, "match_condition": MatchConditions.IfNotModified}
                    batch.append(("delete", row, conditions))
                case Remove(key):
                    row = {"PartitionKey": partition, "RowKey": key}
                    batch.append(("delete", row))
            if row["RowKey"] in keys:
                raise StorageLimitError(f"Row {row['RowKey']} twice in a transaction; Azure takes it once.")
            keys.add(row["RowKey"])
            total += _check_size(row)
        if total > MAX_TRANSACTION_BYTES:
            raise StorageLimitError(f"A transaction of {total} bytes; Azure takes {MAX_TRANSACTION_BYTES}.")
        return [str(done.get("etag", "")) for done in await self._submit(batch)]

    async def _submit(self, batch: list[Any]) -> list[Mapping[str, Any]]:
        with translated(f"rows of {self._name}"):
            try:
                return await made_on_demand(
                    lambda: self._client.submit_transaction(batch), self._client.create_table
                )
            except TableTransactionError as error:
                kinds = {404: NotFoundError, 409: ConflictError, 412: StaleError}
                if error.status_code not in kinds:
                    raise
                raise named(
                    kinds[error.status_code], f"row {error.index} of a transaction in {self._name}"
                ) from error

    async def erase(
        self, partition: str, *, last: str | None = None, keep: Callable[[str], bool] | None = None
    ) -> None:
        """Remove a partition's rows except those whose keys `keep` accepts; row `last` goes at the very end.

        Rows that are written meanwhile go as well. What a crash has interrupted is finished by another call.
        Raises StaleError if there still are rows after 20 rounds.
        """
        for _ in range(_UPDATE_TRIES):
            keys = await self._keys(partition)
            doomed = [key for key in keys if key != last and not (keep is not None and keep(key))]
            if not doomed:
                if last in keys:
                    await self.delete(partition, last)
                return
            for start in range(0, len(doomed), MAX_OPERATIONS):
                batch = [
                    ("delete", {"PartitionKey": partition, "RowKey": key})
                    for key in doomed[start : start + MAX_OPERATIONS]
                ]
                try:
                    await self._submit(batch)
                except NotFoundError:
                    break  # somebody else is erasing too: look again at what is left
        raise UnavailableError(f"Rows of {self._name} come faster than they can be removed.", retry_after=1)

    async def _keys(self, partition: str) -> list[str]:
        columns = ["PartitionKey", "RowKey"]
        rows = self._query("PartitionKey eq @partition", {"partition": partition}, _PAGE_ROWS, columns)
        return [row["RowKey"] async for row in rows]

    async def count(self, partition: str, prefix: str, at_most: int) -> int:
        """Return how many rows of a partition have keys with this prefix, without their content."""
        condition = "PartitionKey eq @partition and RowKey ge @first and RowKey lt @last"
        parameters = {"partition": partition, "first": prefix, "last": prefix[:-1] + chr(ord(prefix[-1]) + 1)}
        found = 0
        async for _ in self._query(condition, parameters, at_most, ["RowKey"]):
            found += 1
            if found == at_most:
                break
        return found

    async def each(
        self,
        shape: type[M],
        partition: str | None,
        prefix: str = "",
        after: str | None = None,
        rows: int = _PAGE_ROWS,
        columns: Sequence[str] = (),
        condition: str = "",
        **values: Any,
    ) -> AsyncIterator[Stored[M]]:
        """Yield rows in key order, those after the key `after`; `rows` are asked for at once.

        Only those for which a `condition` on their properties holds, in which `@name` stands for a value.
        Of wide rows it takes much less time to read only the `columns` that a small shape has.
        `partition` None searches the whole table, which takes its time.
        """
        filters = [condition] if condition else []
        parameters = dict(values)
        if partition is not None:
            filters.append("PartitionKey eq @partition")
            parameters["partition"] = partition
        if prefix:
            filters.append("RowKey ge @first and RowKey lt @last")
            parameters |= {"first": prefix, "last": prefix[:-1] + chr(ord(prefix[-1]) + 1)}
        if after is not None:
            filters.append("RowKey gt @after")
            parameters["after"] = after
        selected = ["PartitionKey", "RowKey", *columns] if columns else None
        async for row in self._query(" and ".join(filters), parameters, rows, selected):
            yield _stored(shape, row)

    async def groups(
        self,
        shapes: Mapping[str, type[BaseModel]],
        partition: str | None = None,
        after: str | None = None,
    ) -> AsyncIterator[dict[str, BaseModel]]:
        """Yield, for each partition (or that one, or those after one), its rows of these keys, as models."""
        if partition is not None and not is_key(partition):
            return
        parameters = {f"key{number}": key for number, key in enumerate(shapes)}
        condition = " or ".join(f"RowKey eq @{name}" for name in parameters)
        if partition is not None:
            condition = f"PartitionKey eq @partition and ( {condition} )"
            parameters["partition"] = partition
        elif after is not None:
            condition = f"PartitionKey gt @after and ( {condition} )"
            parameters["after"] = after
        current: str | None = None
        rows: dict[str, BaseModel] = {}
        async for row in self._query(condition, parameters, _PAGE_ROWS):
            if row["PartitionKey"] != current and rows:
                yield rows
                rows = {}
            current = row["PartitionKey"]
            rows[row["RowKey"]] = from_row(shapes[row["RowKey"]], row)
        if rows:
            yield rows

    # Lists by time: one partition a month, months and rows in the order of inverted time

    async def put_in_month(self, value: BaseModel, list_name: str, at: datetime, row_id: str) -> None:
        """Write a row into the list's partition of that month; the same time and id make the same row."""
        await self.put(value, *month_keys(list_name, at, row_id))

    async def newest(
        self, shape: type[M], list_name: str, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[M], tuple[str, str] | None]:
        """Return up to `limit` rows of a list, newest first, and the keys of the last one if more follow."""
        first, last = after or (f"{list_name}_", ""), f"{list_name}_~"
        condition = (  # the SDK finds a parameter only where spaces surround it
            "( PartitionKey gt @partition or ( PartitionKey eq @partition and RowKey gt @key ) ) "
            "and PartitionKey lt @last"
        )
        parameters = {"partition": first[0], "key": first[1], "last": last}
        found: list[Stored[M]] = []
        async for row in self._query(condition, parameters, limit + 1):
            if len(found) == limit:
                return [stored.value for stored in found], (found[-1].partition, found[-1].key)
            found.append(_stored(shape, row))
        return [stored.value for stored in found], None

    async def _query(
        self, condition: str, parameters: dict[str, Any], limit: int, columns: list[str] | None = None
    ) -> AsyncIterator[Any]:
        with translated(f"rows of {self._name}"):
            try:
                query = self._client.query_entities(
                    condition, parameters=parameters, results_per_page=min(limit, _PAGE_ROWS), select=columns
                )
                # page by page: the SDK's own iterator calls itself for each page that the filter left empty
                async for page in query.by_page():
                    async for row in page:
                        yield row
            except ResourceNotFoundError:
                return


def month_keys(list_name: str, at: datetime, row_id: str) -> tuple[str, str]:
    """Return the partition and row key of a row in a list by time."""
    months_to_come = 9999 * 12 - (at.year * 12 + at.month)
    return f"{list_name}_{months_to_come:06d}", f"{inverted(at)}_{row_id}"
