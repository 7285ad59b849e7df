"""LangGraph: `pip install langchain langchain-openai langchain-mcp-adapters`, then `python with_langgraph.py`."""

import asyncio

from langchain.agents import create_agent
from langchain_mcp_adapters.client import MultiServerMCPClient

REQUEST = "Make https://cdn.runapi.ai/public/samples/video.mp4 a foggy autumn morning."


async def main() -> None:
    luma = MultiServerMCPClient({"luma": {"transport": "stdio", "command": "luma-mcp", "args": ["--sandbox"]}})
    agent = create_agent("openai:gpt-5.4-mini", await luma.get_tools())
    answer = await agent.ainvoke({"messages": [("user", REQUEST)]})
    print(answer["messages"][-1].text)


asyncio.run(main())
