"""A user whom permissions bind, where the tests run as one whom they do not bind."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

NOBODY = 65534


@contextmanager
def without_privileges() -> Generator[None]:
    """Run inside as a user whom permissions bind."""
    if sys.platform != "win32" and os.geteuid() == 0:
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        yield
