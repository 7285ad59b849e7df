"""Importing much at once: what a command needs, and nothing that libraries load beside it."""

import gc
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import ModuleType
from typing import cast

UNUSED = ("httpx._main",)  # httpx's own command line, which brings click, pygments and rich where these are installed


@contextmanager
def large_imports() -> Generator[None]:
    """Import inside without looking for garbage, and never look again at what is there then: modules stay.

    Looking there takes a twentieth of a start, and would stop a server now and then for a tenth of a second.
    """
    for name in UNUSED:  # httpx goes on without it
        cast("dict[str, ModuleType | None]", sys.modules).setdefault(name, None)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
