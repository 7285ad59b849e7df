"""What people type: commands, flags, output, exit codes, and files of hosts that are to know this server."""
