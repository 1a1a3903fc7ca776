"""handsynth: labelled images of hands, rendered without a display."""

__version__ = "0.1.0"
