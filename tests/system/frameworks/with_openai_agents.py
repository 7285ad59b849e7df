"""OpenAI Agents SDK: `pip install openai-agents`, then `python openai_agents.py`."""

import asyncio

from agents import Agent, Runner
from agents.mcp import MCPServerStdio

REQUEST = "Make https://cdn.runapi.ai/public/samples/video.mp4 a foggy autumn morning."


async def main() -> None:
    command = {"command": "luma-mcp", "args": ["--sandbox"]}
    async with MCPServerStdio(command, client_session_timeout_seconds=60) as luma:
        agent = Agent(name="Editor", model="gpt-5.4-mini", mcp_servers=[luma])
        print((await Runner.run(agent, REQUEST)).final_output)


asyncio.run(main())
