"""Runs a function app (azure-functions, Python v2 model) on one machine as the Azure Functions host would."""

from localhost.host.config import HostOptions
from localhost.host.host import Host
from localhost.host.http import open_port

__all__ = ["Host", "HostOptions", "open_port"]
