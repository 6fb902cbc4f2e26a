"""Pages for a browser: plain HTML, no script."""
