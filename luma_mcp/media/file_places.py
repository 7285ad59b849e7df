"""Where an open file lies, by what the system says of it: a path may have been led elsewhere while it was opened."""

import os
import sys
import unicodedata

LONGEST_PATH = 1 << 15


def place_of(descriptor: int) -> str:
    """Give the path of an open file without links in it; empty where the system or the disk does not tell."""
    try:
        if sys.platform == "win32":
            import ctypes  # noqa: PLC0415 - not every Python has it
            import msvcrt  # noqa: PLC0415 - only Windows has it

            path = ctypes.create_unicode_buffer(LONGEST_PATH)
            handle = ctypes.c_void_p(msvcrt.get_osfhandle(descriptor))
            length = ctypes.WinDLL("kernel32").GetFinalPathNameByHandleW(handle, path, LONGEST_PATH, 0)
            return without_prefix(path.value) if 0 < length < LONGEST_PATH else ""
        elif sys.platform == "darwin":  # noqa: RET505 - the type checker follows branches of platforms only
            import fcntl  # noqa: PLC0415 - Windows has none

            return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
        else:
            return os.readlink(f"/proc/self/fd/{descriptor}")
    except (ImportError, OSError):
        return ""


def without_prefix(path: str) -> str:
    """Write a path of Windows as people do, without what allows it to be long."""
    plain = path.removeprefix("\\\\?\\")
    return "\\\\" + plain[4:] if plain[:4].upper() == "UNC\\" else plain


def is_same_place(one: str, other: str) -> bool:
    """Tell whether two paths without links are one; where the file system takes names in any case, so is this."""
    return one == other or (sys.platform in ("win32", "darwin") and folded(one) == folded(other))


def folded(path: str) -> str:
    """Write a path so that two which such a file system takes for one are equal."""
    return unicodedata.normalize("NFC", without_prefix(path)).casefold()
