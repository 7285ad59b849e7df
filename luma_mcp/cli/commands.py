"""The one place where a command is run: what it needs is imported then, and its settings are loaded."""

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, cast

from luma_mcp.cli.imports import large_imports
from luma_mcp.cli.setting_flags import FLAGS, flag_name

if TYPE_CHECKING:
    from luma_mcp.core.settings import Settings


def run_command(given: dict[str, Any]) -> int:
    """Run what `parse_command_line` has read, and give the exit code; raise a `LumaError`."""
    run, takes = given.pop("run"), given.pop("takes")
    flags = {name: given.pop(name) for name in FLAGS if name in given}
    with large_imports():
        command = cast("Callable[..., int]", resolve_name(run))
    if takes == "flags":
        return command(flags, **given)
    return command(load_command_settings(flags, at_a_server=takes == "server_settings"), **given)


def load_command_settings(flags: Mapping[str, Any], *, at_a_server: bool) -> "Settings":
    """Load settings, as of a person at this machine unless `at_a_server`, and log as they say.

    Raises `BadSetting`, which names the flag where the value came from one.
    """
    with large_imports():
        from luma_mcp.cli.logs import configure_logging  # noqa: PLC0415 - pydantic takes longer than what some commands do
        from luma_mcp.core.settings import Settings, load_settings, variable_name  # noqa: PLC0415 - as above
        from luma_mcp.core.settings_sources import BadSetting  # noqa: PLC0415 - as above

    try:
        settings = load_settings(**flags)
    except BadSetting as error:
        typed = {variable_name(Settings.model_fields[name], name): name for name in flags}
        if error.variable in typed:
            raise BadSetting(flag_name(typed[error.variable]), error.accepts) from None
        raise
    configure_logging(settings)
    return settings if at_a_server else settings.model_copy(update={"transport": "stdio"})
