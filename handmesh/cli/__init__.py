"""The commands, a file for each group: parse, call, print. Heavy rooms are imported inside."""
