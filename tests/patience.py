"""How long a test waits for what should come."""

#: Seconds. A busy machine is slow and not broken: only what never comes is a failure.
PATIENCE = 240
