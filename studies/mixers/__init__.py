"""One frame, many mixers: which design of the spectrum mixer holds, against its peers at equal budget. See README.md."""
