"""PydanticAI: `pip install "pydantic-ai-slim[mcp,openai]"`, then `python with_pydantic_ai.py`."""

from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset

REQUEST = "Make https://cdn.runapi.ai/public/samples/video.mp4 a foggy autumn morning."

luma = MCPToolset(StdioTransport("luma-mcp", ["--sandbox"]))
agent = Agent("openai:gpt-5.4-mini", toolsets=[luma])
print(agent.run_sync(REQUEST).output)
