"""Serving: the MCP server over any transport, the token of its own clients, and the sandbox on a port."""

import sys
from contextlib import redirect_stdout

import anyio

from luma_mcp.cli.console import print_message, print_result
from luma_mcp.cli.logs import configure_logging, log_charges
from luma_mcp.core.settings import Settings
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.transports.auth import ensure_local_token, with_local_token


def serve(settings: Settings) -> int:
    """Serve hosts until they leave, or a signal ends it."""
    if settings.serves_http:
        from luma_mcp.transports.http import serve_http  # noqa: PLC0415 - brings a web server, which a host's has no use for

        settings = with_local_token(settings)
        configure_logging(settings)
        log_charges()
        with redirect_stdout(sys.stderr):  # what libraries print
            anyio.run(serve_http, settings, print_message)
    else:
        from luma_mcp.transports.stdio import serve_stdio  # noqa: PLC0415 - a web server has no use for it

        log_charges()
        anyio.run(serve_stdio, settings)
    return 0


def run_token(settings: Settings) -> int:
    print_result(ensure_local_token(settings.data_dir).get_secret_value())
    if settings.auth_tokens is not None:
        print_message(
            f"It is for servers without LUMA_MCP_AUTH_TOKENS, which is set here to {describe_callers(settings)}."
        )
    elif settings.names_callers:
        print_message("It is for servers without LUMA_MCP_AUTH_TOKENS_FILE and LUMA_MCP_OAUTH_ISSUER; one is set here.")
    return 0


def describe_callers(settings: Settings) -> str:
    return "none" if settings.needs_no_token else f"tokens of {', '.join(dict.fromkeys(dict(settings.callers)))}"


def run_sandbox(settings: Settings, listen: int, seconds: float) -> int:
    from luma_mcp.sandbox.serve import serve_sandbox  # noqa: PLC0415 - brings a web server, which nothing else needs
    from luma_mcp.transports.sockets import uvicorn_config  # noqa: PLC0415 - as above

    try:
        anyio.run(serve_sandbox, settings.sandbox_dir, listen, seconds, print_message, uvicorn_config)
    except OSError as error:
        raise BadSetting("--listen", f"port {listen} cannot be used: {error}") from error
    return 0
