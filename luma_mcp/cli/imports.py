"""Importing much at once: what a command needs, and nothing that libraries load beside it."""

import gc
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import ModuleType
from typing import cast

HTTPX_COMMAND_LINE = "httpx._main"  # brings click, pygments and rich where these are installed; httpx goes on without


@contextmanager
def large_imports() -> Generator[None]:
    """Import inside without looking for garbage, and never look again at what is there then: modules stay.

    Looking there takes a twentieth of a start, and would stop a server now and then for a tenth of a second. Nor are
    all installed packages searched for plugins of pydantic, which would see every value that is checked, the key too.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # noqa: TID251 - no setting of ours: pydantic reads it
    cast("dict[str, ModuleType | None]", sys.modules).setdefault(HTTPX_COMMAND_LINE, None)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
