"""torchrun itself: it restarts after a lost process, and passes signals on. ``pytest -m slow -n 0 tests/engine``."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .shrunken import EAGER, SHRUNK, reached, sha

pytestmark = pytest.mark.slow


class Launched:
    """`torchrun` with two processes, as `Child` looks to ``reached``."""

    def __init__(self, *arguments, restarts, log):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        command += [f"--max-restarts={restarts}", "-m", "dsmixer.cli", "train", *arguments]
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        self.poll = self.process.poll

    def end(self):
        return self.process.wait(300), self.log.read_text()

    def rank(self, number):
        """The process id of one of the two."""
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                environment = path.read_bytes().split(b"\0")
                parent = path.with_name("stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if f"RANK={number}".encode() in environment and int(parent) == self.process.pid:
                return int(path.parent.name)
        raise AssertionError(f"no rank {number}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    code, text = Launched(*SHRUNK, f"--out={folder}", restarts=0, log=folder.parent / "log").end()
    assert code == 0, text
    return folder


def test_a_killed_process_is_restarted_with_the_other_and_the_bytes_are_the_same(undisturbed, tmp_path):
    folder = tmp_path / "run"
    launched = Launched(*SHRUNK, EAGER, f"--out={folder}", restarts=1, log=tmp_path / "log")
    reached(launched, folder, 8)
    os.kill(launched.rank(1), signal.SIGKILL)
    code, text = launched.end()
    assert code == 0, text
    assert "resuming" in text
    assert sha(folder) == sha(undisturbed)


def test_sigterm_to_torchrun_saves_and_the_same_command_goes_on(undisturbed, tmp_path):
    folder = tmp_path / "run"
    launched = Launched(*SHRUNK, EAGER, f"--out={folder}", restarts=1, log=tmp_path / "log")
    reached(launched, folder, 8)
    for rank in (0, 1):  # as a cluster's manager, which signals every process
        os.kill(launched.rank(rank), signal.SIGTERM)
    os.kill(launched.process.pid, signal.SIGTERM)
    code, text = launched.end()
    assert code != 0
    assert "stopped after step" in text
    assert "resuming" not in text
    time.sleep(1)
    code, text = Launched(*SHRUNK, f"--out={folder}", restarts=1, log=tmp_path / "again").end()
    assert code == 0, text
    assert "resuming" in text
    assert sha(folder) == sha(undisturbed)
