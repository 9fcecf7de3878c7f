"""One frame, many mixers: which design holds, against its peers at equal budget. See README.md."""
