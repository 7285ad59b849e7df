"""LlamaIndex: `pip install llama-index-core llama-index-llms-openai llama-index-tools-mcp`, then run this file."""

import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai import OpenAI
from llama_index.tools.mcp import BasicMCPClient, McpToolSpec

REQUEST = "Make https://cdn.runapi.ai/public/samples/video.mp4 a foggy autumn morning."


async def main() -> None:
    luma = McpToolSpec(BasicMCPClient("luma-mcp", args=["--sandbox"], timeout=60))
    agent = FunctionAgent(tools=await luma.to_tool_list_async(), llm=OpenAI(model="gpt-5.4-mini"))
    print(await agent.run(REQUEST))


asyncio.run(main())
