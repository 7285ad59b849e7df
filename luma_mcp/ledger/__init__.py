"""The tasks on disk, shared by every process: the one truth."""
