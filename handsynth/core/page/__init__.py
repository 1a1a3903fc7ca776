"""Self-contained HTML pages of both packages: what they show of datasets and of runs."""
