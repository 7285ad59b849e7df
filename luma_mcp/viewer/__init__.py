"""The page that people look at, in a chat (MCP App) and in a browser (gallery): one source, no build step."""
