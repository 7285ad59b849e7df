"""Why a follower lets go of a task that is sound."""


class ForeignTask(Exception):
    """RunAPI does not know a task that was submitted with another key."""
