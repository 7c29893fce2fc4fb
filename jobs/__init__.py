"""Entry points. Importing this package sets a home folder and how torch's threads wait, before libraries load."""

import os

from jobs.cli.home import ensure_home

# Idle threads sleep. Where other work runs too, spinning threads take the processor from the thread that they wait
# for: a step then takes several times as long, and its processor seconds mean nothing.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ensure_home()
