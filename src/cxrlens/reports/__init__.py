"""Pages about what other rooms found: they take data and write one self-contained HTML file."""
