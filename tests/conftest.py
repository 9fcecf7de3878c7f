"""One thread a process: the tests' tensors are too small to share, and thread counts change the last bits."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for the processes that tests start
