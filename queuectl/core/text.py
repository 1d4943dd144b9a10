"""Text of jobs made safe to show: what a terminal would obey, or what would hide what it says, becomes visible."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re

#: What is escaped: C0 but tab and newline, DEL, C1, bidirectional overrides, line separators, lone surrogates.
_UNSAFE = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]"


def safe_text(text: str) -> str:
    """*text* with everything a terminal would obey, or that would hide what it says, as visible escapes."""
    if text.isascii() and text.isprintable():
        return text
    import re

    return re.sub(_UNSAFE, _visible, text)


def safe_line(text: str) -> str:
    """As :func:`safe_text`, on one line: tabs and newlines are made visible too."""
    return safe_text(text).replace("\n", "\\n").replace("\t", "\\t")


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
