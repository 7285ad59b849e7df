"""luma_mcp: modify video with RunAPI's Luma from any MCP host."""

__version__ = "0.1.0"
