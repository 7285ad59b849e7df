"""What is made of this project for others to find and install: server.json, the bundle for Claude Desktop, tables.

Only developers need it, in a checkout; it is not part of the package that users install.
"""
