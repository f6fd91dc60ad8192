"""Matches paths to functions as the real host does: in the order of function names, never by specificity."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from localhost.errors import FunctionLoadError
from localhost.host.app import Function

HOMEPAGE_SETTING = "AzureWebJobsDisableHomepage"
RESERVED = ("admin", "runtime")
PARAMETER = re.compile(
    r"\{(?P<all>\*{0,2})(?P<name>\w+)(?P<constraints>(?::\w+(?:\(\d+\))?)*)(?P<optional>\??)\}"
)
CONSTRAINT = re.compile(r":(\w+)(?:\((\d+)\))?")
GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
INT = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True)
class Route:
    """One HTTP function with its parsed template; no methods means all."""

    function: Function
    template: str
    methods: frozenset[str]
    pattern: re.Pattern[str]
    constraints: tuple[tuple[str, str, int], ...]

    def match(self, path: str) -> dict[str, str] | None:
        """The route parameters when this path fits, else None; absent optional ones are left out."""
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        values = {name: value for name, value in found.groupdict().items() if value}
        if all(_holds(values[name], kind, n) for name, kind, n in self.constraints if name in values):
            return values
        return None


def build_routes(functions: Iterable[Function], prefix: str) -> list[Route]:
    """The HTTP functions in the order in which they are tried; refuses what the real host refuses."""
    http = [function for function in functions if function.trigger["type"] == "httpTrigger"]
    return [_build_route(function, prefix) for function in sorted(http, key=lambda f: f.name.upper())]


def find_route(routes: Iterable[Route], method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The first route whose template and method both fit: a wrong method is no match, so it ends as a 404."""
    path = path.removeprefix("/").removesuffix("/")
    for route in routes:
        if route.methods and method not in route.methods:
            continue
        if (values := route.match(path)) is not None:
            return route, values
    return None


def is_homepage_disabled() -> bool:
    """Whether `/` is left to the functions."""
    return os.environ.get(HOMEPAGE_SETTING, "").lower() in ("true", "1")


def _build_route(function: Function, prefix: str) -> Route:
    route = str(function.trigger.get("route") or function.name)
    if route.strip("/").lower().startswith(RESERVED):
        raise FunctionLoadError(function.name, f"the route {route!r} begins with one of {RESERVED}: reserved")
    template = "/".join(part for part in (prefix, route.strip("/")) if part)
    pattern, constraints = _parse_template(function.name, template)
    methods = frozenset(str(method).upper() for method in function.trigger.get("methods") or ())
    return Route(function, template, methods, pattern, constraints)


def _parse_template(function: str, template: str) -> tuple[re.Pattern[str], tuple[tuple[str, str, int], ...]]:
    pattern = ""
    constraints: list[tuple[str, str, int]] = []
    end = 0
    for found in PARAMETER.finditer(template):
        literal = template[end : found.start()]
        end = found.end()
        name, swallows_all = found["name"], bool(found["all"])
        is_omittable = swallows_all or bool(found["optional"])
        if is_omittable and end != len(template):
            raise FunctionLoadError(function, f"only the end of the route {template!r} can be optional")
        group = f"(?P<{name}>{'.*' if swallows_all else '[^/]+'})"
        if is_omittable and literal.endswith("/"):
            pattern += f"{re.escape(literal[:-1])}(?:/{group})?"
        else:
            pattern += re.escape(literal) + (f"(?:{group})?" if is_omittable else group)
        for kind, number in CONSTRAINT.findall(found["constraints"]):
            if kind not in ("int", "guid", "maxlength"):
                raise FunctionLoadError(function, f"the route constraint {kind} is not supported")
            constraints.append((name, kind, int(number or 0)))
    literal = template[end:]
    if "{" in literal or "}" in literal or "{" in PARAMETER.sub("", template):
        raise FunctionLoadError(function, f"the route {template!r} cannot be parsed")
    return re.compile(pattern + re.escape(literal), re.IGNORECASE | re.DOTALL), tuple(constraints)


def _holds(value: str, kind: str, number: int) -> bool:
    if kind == "int":
        return INT.fullmatch(value) is not None and -(2**31) <= int(value) < 2**31
    if kind == "guid":
        return GUID.fullmatch(value) is not None
    return len(value) <= number
