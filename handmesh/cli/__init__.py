"""The commands, a file for each group: parse, call, print. Heavy modules are imported inside."""
