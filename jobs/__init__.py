"""Jobs: config -> read -> call -> write. Whoever starts one has a home, before any library looks for it."""

from jobs.home import ensure_home

ensure_home()
