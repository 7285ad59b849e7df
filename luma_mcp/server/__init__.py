"""What MCP clients see: tools, resources, prompts, completions, notifications."""
