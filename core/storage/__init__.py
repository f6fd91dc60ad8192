"""The only room that talks to Azure Storage: tables, blobs and queues behind three small adapters."""

from core.storage.account import StorageAccount, Watch

__all__ = ["StorageAccount", "Watch"]
