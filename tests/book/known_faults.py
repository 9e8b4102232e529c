"""Faults of the pages that are not ours and cannot be mended here, each with its cause.

Nothing else is let through, and a fault that is no more has to leave this list.
"""

# (axe rule, CSS selector of the element, cause)
ACCESSIBILITY: list[tuple[str, str, str]] = []

# (regular expression for the message, cause)
CONSOLE: list[tuple[str, str]] = []
