"""One YAML file a run; its header says source, command, cost, expected result, and whether we measured it."""
