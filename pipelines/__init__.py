"""The commands: they wire the other packages together and decide nothing themselves."""
