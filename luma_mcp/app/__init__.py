"""What the server can do, in verbs, and where its parts are put together."""
