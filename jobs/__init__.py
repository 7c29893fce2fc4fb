"""Entry points. Before libraries load: whoever starts one has a home, and how torch's threads wait is settled."""

import os

from jobs.cli.home import ensure_home

# Threads that have nothing to do sleep. Those that spin take the processor from the very thread that they wait for
# where other work runs too: a step then takes several times as long, and its processor seconds mean nothing.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ensure_home()
