"""The page about a dataset: `handsynth stats OUT --report FILE`."""
