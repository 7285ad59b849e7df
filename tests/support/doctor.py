"""How tests ask the doctor."""

from collections.abc import Callable

from luma_mcp.core.text import Json

Doctor = Callable[..., tuple[int, dict[str, Json]]]
