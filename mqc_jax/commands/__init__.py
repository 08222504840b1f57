"""The commands, one module each: `flags(argv)` parses, `run(flags, console)` works and returns the printed figures."""
