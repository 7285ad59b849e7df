"""Named moments of the work at which a test kills the process, to prove that no moment loses or pays twice."""


def reach(point: str) -> None:
    """Pass a named moment. This does nothing: tests put something else in its place."""
