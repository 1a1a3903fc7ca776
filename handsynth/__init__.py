"""handsynth: labelled images of hands, rendered without a display."""


def __getattr__(name: str) -> str:
    """`__version__`: that of the installed package, which pyproject.toml alone decides."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("handsynth")
    except PackageNotFoundError:  # sources that were never installed
        return "unknown"
