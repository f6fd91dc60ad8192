"""Why something could not be started here, each in one line that says what to do.

LocalhostError
├── HostError                     the functions cannot run
│   ├── AppImportError            function_app.py raised; the traceback is the cause
│   ├── HostConfigError           host.json or an app setting is missing or wrong
│   ├── FunctionLoadError         the real host would refuse this function too
│   └── UnsupportedBindingError   the real host could run it, this one does not
├── PortError                     somebody else listens there, or it is not ours to use
└── ChildError                    a program that we need did not start
    └── AzuriteError              the storage emulator, its Node or its data folder
"""


class LocalhostError(Exception):
    """The root: its text is one line for the person at the terminal."""


class HostError(LocalhostError):
    """The functions cannot run."""


class AppImportError(HostError):
    """function_app.py could not be imported: no function exists, here as in the cloud."""


class HostConfigError(HostError):
    """host.json, or a setting that a binding names, is missing or wrong."""


class FunctionLoadError(HostError):
    """A function that the real host would refuse as well."""

    def __init__(self, function: str, reason: str) -> None:
        super().__init__(f"cannot load the function {function}: {reason}")


class UnsupportedBindingError(HostError):
    """A binding that works in the cloud but that this host does not offer."""

    def __init__(self, function: str, binding: str, reason: str = "this host does not support it") -> None:
        super().__init__(f"the function {function} uses the binding {binding}: {reason}")


class PortError(LocalhostError):
    """The wanted port cannot be had."""

    def __init__(self, port: int, reason: str) -> None:
        super().__init__(f"port {port}: {reason}; stop what listens there or choose another with --port")


class ChildError(LocalhostError):
    """A program that we need did not start."""


class AzuriteError(ChildError):
    """The storage emulator did not start."""
