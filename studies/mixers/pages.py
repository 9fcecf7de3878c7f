"""Put what `results.csv` holds into the pages: the tables between their markers, and the plots beside them.

uv run python -m studies.mixers.pages

A page says `<!-- table NAME -->` … `<!-- /table -->`; NAME is a question (its rows), a protocol (the rows of the
question "peers") or "shifts" (what `shifts.csv` holds). Nothing between the markers is written by hand; a test compares
it with the results.
"""

import re
from pathlib import Path

from studies.mixers import shifts
from studies.mixers.mixers import QUESTIONS, Question
from studies.mixers.run import rows
from studies.mixers.table import Summary, markdown, plot, summaries

HERE = Path(__file__).parent
PAGES = (HERE / "README.md", *sorted((HERE / "findings").glob("*.md")))
TABLE = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def question(name: str) -> Question:
    """Which rows the table ``name`` has."""
    return QUESTIONS.get(name, Question(name, QUESTIONS["peers"].mixers))


def found(name: str) -> list[Summary]:
    """The runs behind the table ``name``."""
    protocol, mixers = question(name)
    return summaries(rows(), protocol, mixers, mixers[0])


def table(name: str) -> str:
    """The table of that name."""
    return shifts.markdown() if name == "shifts" else markdown(found(name), question(name).mixers[0])


def with_tables(text: str) -> str:
    """The text of a page with its tables made anew."""
    return TABLE.sub(lambda match: f"{match[1]}{table(match[2])}{match[3]}", text)


def main() -> None:
    for page in PAGES:
        text = page.read_text()
        page.write_text(with_tables(text))
        for _, name, _ in TABLE.findall(text):
            if f"{name}.png" in text and (runs := found(name)):
                plot(runs, HERE / "findings" / f"{name}.png")


if __name__ == "__main__":
    main()
