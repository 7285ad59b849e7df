"""The peer: a server of the SDK with one tool that does nothing, over stdio, or over HTTP where that is asked for.

python tests/system/benchmarks/empty_server.py [http]
"""

import sys
from typing import Any

import anyio
import mcp.types as wire
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server


async def list_tools(ctx: Any, params: Any) -> wire.ListToolsResult:
    del ctx, params
    return wire.ListToolsResult(tools=[wire.Tool(name="nothing", input_schema={"type": "object"})])


async def call_tool(ctx: Any, params: Any) -> wire.CallToolResult:
    del ctx, params
    return wire.CallToolResult(content=[wire.TextContent(type="text", text="{}")])


async def serve_stdio(server: Server[Any]) -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


async def serve_http(server: Server[Any]) -> None:
    import socket  # noqa: PLC0415 - over stdio no web server is loaded

    import uvicorn  # noqa: PLC0415 - as above

    app = server.streamable_http_app()
    # A socket that names its protocol gets TCP_NODELAY; without, each answer would take 40 ms longer.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", file=sys.stderr, flush=True)
    await uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_keep_alive=600)).serve([listening])


def main() -> None:
    server = Server[Any]("empty", on_list_tools=list_tools, on_call_tool=call_tool)
    anyio.run(serve_http if sys.argv[1:] == ["http"] else serve_stdio, server)


if __name__ == "__main__":
    main()
