"""What the kernel says of a running process; None on systems without /proc."""

import os
from pathlib import Path


def read_cpu_seconds(pid: int) -> float | None:
    """CPU that the process itself has used so far, user and system, without its children."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None
    # The name, in parentheses, may hold blanks; what follows it begins with field 3.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_peak_mb(pid: int) -> float | None:
    """The most memory that the process has held at any moment, in MB of a million bytes."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return None
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1_000_000
