"""The only room that knows RunAPI's HTTP, and what its links lead to."""
