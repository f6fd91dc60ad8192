"""Loads a function app and checks each function as the real worker does before it runs anything."""

import importlib.util
import inspect
import json
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import azure.functions as func

from localhost.errors import AppImportError, FunctionLoadError, UnsupportedBindingError
from localhost.host.config import resolve_settings

MODULE = "function_app"
STORAGE = "AzureWebJobsStorage"
TRIGGERS = ("httpTrigger", "queueTrigger", "blobTrigger", "timerTrigger")
IN, OUT = 0, 1
RAW = (str, bytes)
"""Parameters annotated so receive the trigger's text or bytes without a wrapper."""


@dataclass(frozen=True)
class Function:
    """One indexed function: what triggers it and how its one argument is built."""

    name: str
    call: Callable[..., Any]
    is_async: bool
    trigger: Mapping[str, Any]
    """The trigger binding with its settings resolved: type, name, queueName, path, route, schedule ..."""
    bindings: tuple[Mapping[str, Any], ...]
    """All bindings as the real worker reports them to its host."""
    pytype: type | None
    is_deferred: bool
    """The parameter is an SDK type: it gets a reference to the blob, not its content."""
    wants_context: bool
    directory: str


@dataclass(frozen=True)
class _Parameter:
    pytype: type | None


def load_functions(folder: Path) -> list[Function]:
    """Import function_app.py from the folder and index it, in the order of registration.

    Raises AppImportError, FunctionLoadError or UnsupportedBindingError: one bad function hides all, as it
    does in the cloud.
    """
    module = _import_app(folder)
    apps = [app for app in vars(module).values() if isinstance(app, func.FunctionRegister)]
    if len(apps) != 1:
        raise AppImportError(f"{folder / MODULE}.py must define exactly one FunctionApp, it has {len(apps)}")
    try:
        indexed = apps[0].get_functions()
    except ValueError as error:
        raise AppImportError(f"{folder / MODULE}.py cannot be indexed: {error}") from error
    return [_check_function(function) for function in indexed]


def _import_app(folder: Path) -> Any:
    if not (folder / f"{MODULE}.py").is_file():
        raise AppImportError(f"{folder} has no {MODULE}.py")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    known = sys.modules.pop(MODULE, None)
    spec = importlib.util.spec_from_file_location(MODULE, folder / f"{MODULE}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[MODULE] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[MODULE]
        if known is not None:
            sys.modules[MODULE] = known
        raise AppImportError(f"{folder / MODULE}.py cannot be imported: {error!r}") from error
    return module


def _check_function(function: Any) -> Function:
    name: str = function.get_function_name()
    call = function.get_user_function()
    trigger = function.get_trigger()
    if trigger.type not in TRIGGERS:
        raise UnsupportedBindingError(name, trigger.type)
    for binding in function.get_bindings():
        is_http_reply = (binding.type, binding.name, binding.direction) == ("http", "$return", OUT)
        if binding is not trigger and not is_http_reply:
            raise UnsupportedBindingError(name, f"{binding.type} ({binding.name})")
    connection = getattr(trigger, "connection", None)
    if connection not in (None, "", STORAGE):
        raise UnsupportedBindingError(name, trigger.type, f"only the connection {STORAGE} exists here")
    try:
        hints = typing.get_type_hints(call)
    except NameError as error:
        raise FunctionLoadError(name, f"an annotation cannot be resolved: {error}") from error
    wants_context = _check_parameters(name, call, trigger, hints)
    pytype = hints.get(trigger.name)
    is_deferred = _is_sdk_type(pytype)
    if pytype is not None:
        _check_annotation(name, trigger, pytype, is_deferred)
    if trigger.type == "httpTrigger" and "return" in hints:
        _check_return(name, hints["return"])
    bindings = tuple(_raw_bindings(function, trigger.name, pytype, is_deferred))
    described = next(binding for binding in bindings if binding["name"] == trigger.name)
    return Function(
        name=name,
        call=call,
        is_async=inspect.iscoroutinefunction(call),
        trigger=resolve_settings(name, described),
        bindings=bindings,
        pytype=pytype,
        is_deferred=is_deferred,
        wants_context=wants_context,
        directory=str(Path(inspect.getfile(call)).parent),
    )


def _check_parameters(name: str, call: Callable[..., Any], trigger: Any, hints: Mapping[str, Any]) -> bool:
    declared = set(inspect.signature(call).parameters)
    wants_context = "context" in declared and trigger.name != "context"
    if wants_context:
        declared.discard("context")
        annotation = hints.get("context", func.Context)
        if getattr(annotation, "__name__", None) != "Context":
            raise FunctionLoadError(name, f"`context` must be azure.functions.Context, not {annotation!r}")
    if unbound := declared - {trigger.name}:
        raise FunctionLoadError(name, f"the parameters {sorted(unbound)} have no binding")
    if trigger.name not in declared:
        raise FunctionLoadError(name, f"the binding {trigger.name!r} has no parameter")
    return wants_context


def _is_sdk_type(pytype: Any) -> bool:
    """Ask the extension library, if the app has loaded it: an app that has not cannot use such types."""
    extensions = sys.modules.get("azurefunctions.extensions.base")
    return extensions is not None and bool(extensions.get_binding_registry().check_supported_type(pytype))


def find_converter(binding_type: str, is_deferred: bool) -> Any:
    """The library's own converter for a trigger: what the real worker would use."""
    if is_deferred:
        import azurefunctions.extensions.base as extensions

        return extensions.get_binding_registry().get(binding_type)
    return func.get_binding_registry().get(binding_type)


def _check_annotation(name: str, trigger: Any, pytype: Any, is_deferred: bool) -> None:
    if not isinstance(pytype, type):
        raise FunctionLoadError(name, f"the annotation {pytype!r} of {trigger.name} is not a type")
    if pytype in RAW and trigger.type in ("queueTrigger", "blobTrigger"):
        return
    converter = find_converter(trigger.type, is_deferred)
    if converter is None or not converter.check_input_type_annotation(pytype):
        raise FunctionLoadError(name, f"{trigger.type} does not give a {pytype.__name__} for {trigger.name}")


def _check_return(name: str, pytype: Any) -> None:
    converter = find_converter("http", False)
    if not isinstance(pytype, type) or not converter.check_output_type_annotation(pytype):
        raise FunctionLoadError(name, f"an HTTP function returns an HttpResponse or a str, not {pytype!r}")


def _raw_bindings(function: Any, parameter: str, pytype: Any, is_deferred: bool) -> list[dict[str, Any]]:
    if is_deferred:
        import azurefunctions.extensions.base as extensions

        texts, _ = extensions.get_binding_registry().get_raw_bindings(
            function, {parameter: _Parameter(pytype)}
        )
    else:
        texts = function.get_raw_bindings()
    return [json.loads(text) for text in texts]
