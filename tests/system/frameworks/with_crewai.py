"""CrewAI: `pip install "crewai-tools[mcp]"`, then `python with_crewai.py`."""

from crewai import Agent
from crewai_tools import MCPServerAdapter
from mcp import StdioServerParameters

REQUEST = "Make https://cdn.runapi.ai/public/samples/video.mp4 a foggy autumn morning."

with MCPServerAdapter(StdioServerParameters(command="luma-mcp", args=["--sandbox"])) as luma:
    editor = Agent(role="Editor", goal="Modify videos", backstory="You edit film.", tools=luma, llm="gpt-5.4-mini")
    print(editor.kickoff(REQUEST))
