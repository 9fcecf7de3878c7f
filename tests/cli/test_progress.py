"""A bar where somebody watches, and nothing of it in files."""

import os
import pty
import subprocess
import sys

from PIL import Image

PREDICT = [sys.executable, "-m", "dsmixer.cli", "predict"]


def test_predict_draws_a_bar_on_a_terminal_and_only_there(tmp_path):
    for number in range(3):
        Image.linear_gradient("L").save(tmp_path / f"{number}.png")
    asked = [*PREDICT, *sorted(map(str, tmp_path.glob("*.png"))), "--out"]
    quiet = subprocess.run([*asked, str(tmp_path / "quiet.csv")], capture_output=True, text=True, check=True)
    named, told = quiet.stderr.splitlines()
    assert named.startswith("no --weights: dsm_zepto.")
    assert told.startswith("3 images, 0 failed (")

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    watched = subprocess.Popen(
        [*asked, str(tmp_path / "seen.csv")], stdout=subprocess.PIPE, stderr=theirs, env=environment
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:  # how Linux says that the other side was closed
        pass
    watched.communicate()
    os.close(ours)
    assert watched.returncode == 0
    assert "3/3" in seen.decode()
    assert "━" in seen.decode()
    assert "3 images, 0 failed (" in seen.decode()
