"""An SDK type of the app's own: the worker gives it a reference to the blob instead of its content."""

import json
from typing import Any

from azurefunctions.extensions.base import Datum, InConverter, SdkType


class BlobName(SdkType):  # type: ignore[misc]
    """Where the blob is."""

    def __init__(self, *, data: Any) -> None:
        super().__init__()
        reference = json.loads(data.content)
        self.connection: str = reference["Connection"]
        self.container: str = reference["ContainerName"]
        self.name: str = reference["BlobName"]
        self.source: str = data.source

    def get_sdk_type(self) -> "BlobName":
        return self


class BlobNameConverter(InConverter, binding="blob", trigger="blobTrigger"):  # type: ignore[misc, call-arg]
    @classmethod
    def check_input_type_annotation(cls, pytype: type) -> bool:
        return issubclass(pytype, BlobName)

    @classmethod
    def decode(cls, data: Datum, *, trigger_metadata: Any, pytype: type | None = None) -> BlobName:
        assert data.type == "model_binding_data"
        return BlobName(data=data.value)
