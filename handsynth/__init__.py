"""handsynth: labelled pictures of hands, rendered without a display."""

__version__ = "0.1.0"
