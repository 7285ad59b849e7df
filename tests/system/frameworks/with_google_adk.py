"""Google ADK: `pip install "google-adk[mcp]"`, then `python with_google_adk.py`."""

import asyncio

from google.adk.agents import LlmAgent
from google.adk.runners import InMemoryRunner
from google.adk.tools.mcp_tool import McpToolset, StdioConnectionParams
from mcp import StdioServerParameters

REQUEST = "Make https://cdn.runapi.ai/public/samples/video.mp4 a foggy autumn morning."


async def main() -> None:
    server = StdioServerParameters(command="luma-mcp", args=["--sandbox"])
    luma = McpToolset(connection_params=StdioConnectionParams(server_params=server, timeout=60))
    runner = InMemoryRunner(LlmAgent(name="editor", model="gemini-2.5-flash", tools=[luma]))
    await runner.run_debug(REQUEST)
    await runner.close()


asyncio.run(main())
