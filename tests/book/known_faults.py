"""Faults of the pages that are not ours and cannot be mended here; nothing else is let through."""

# (axe rule, CSS selector of the element, cause)
ACCESSIBILITY = [
    (
        "label-content-name-mismatch",
        ".search-button-field",
        "the theme names the button Search and shows the keys Ctrl + K on it as well",
    ),
    (
        "label-content-name-mismatch",
        ".theme-switch-button",
        "the theme names the button Color mode and shows icons that hold a title of their own",
    ),
]

# (regular expression of the message, cause)
CONSOLE: list[tuple[str, str]] = []
