"""What holds for every test: one thread of computation, as several test processes share the machine."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
