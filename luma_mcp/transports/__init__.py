"""How a process is spoken to: stdio, streamable HTTP, SSE; who may come in; how it ends."""
