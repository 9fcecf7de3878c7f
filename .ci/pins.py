"""Rewrite `[tool.uv] constraint-dependencies` in pyproject.toml from a fresh resolution.

    python .ci/pins.py            # newest versions that resolve together
    python .ci/pins.py --check    # exit 1 if something that is installed is not pinned

`uv.lock` would hold the same versions beside the hosts they came from, so it is git-ignored and the pins live here.
"""

import re
import subprocess
import sys
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
BLOCK = re.compile(r"(constraint-dependencies = \[\n).*?(^\])", re.DOTALL | re.MULTILINE)


def resolve() -> list[str]:
    """Every direct and transitive requirement as `name==version ; marker`, for all extras and groups."""
    command = ["uv", "export", "--no-hashes", "--no-annotate", "--no-header", "--no-emit-project"]
    lines = subprocess.run(
        [*command, "--all-extras", "--all-groups"], check=True, capture_output=True, text=True
    ).stdout
    return [line.strip() for line in lines.splitlines() if line.strip()]


def write(pins: list[str]) -> None:
    """Replace the block of pins."""
    body = "".join(f'    "{pin}",\n' for pin in pins)
    PYPROJECT.write_text(BLOCK.sub(lambda found: found[1] + body + found[2], PYPROJECT.read_text()))


def main() -> int:
    """Refresh the pins, or check that none is missing."""
    if "--check" in sys.argv:
        missing = [pin for pin in resolve() if f'"{pin}"' not in PYPROJECT.read_text()]
        print("\n".join(f"not pinned: {pin}" for pin in missing) or "every requirement is pinned")
        return bool(missing)
    write([])
    subprocess.run(["uv", "lock", "--upgrade", "--quiet"], check=True)
    write(resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
