"""Why a follower lets go of a task: no failure of the task, and nothing that a caller is told."""


class LeaseLost(Exception):
    """Another process has taken a task over; what this one still believes about it counts no more."""


class ForeignTask(Exception):
    """RunAPI does not know a task that was submitted with another key."""
