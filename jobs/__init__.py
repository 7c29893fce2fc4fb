"""Entry points; before one of them loads torch, how its threads wait for each other is set."""

import os

# Threads that have nothing to do sleep. Those that spin take the processor from the very thread that they wait for
# where other work runs too: a step then takes several times as long, and its processor seconds mean nothing.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
