"""Pages for people: one self-contained HTML file with inline drawings, no scripts, nothing fetched."""
