"""Everything on one machine: the storage emulator, the offline AI, and a host for the functions."""
