"""A notice as HTML: one column, inline styles, nothing fetched from anywhere.

Mail readers keep little of CSS, so every element carries its own style and all
that matters is also in the words. Colours stand on their own background, and
``color-scheme`` tells readers with a dark mode that both are fine; where they
invert anyway, contrast stays. Everything is escaped here, whatever it was before.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shaper.notify.page import Bar, Page

__all__ = ["html"]

_TONES = {"slowed": "#b45309", "blocked": "#b91c1c", "normal": "#15803d"}
_OTHER = "#1d4ed8"
_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_MONO = "font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace"
_HEADING = "font-size:15px;margin:24px 0 8px;color:#111827"
_FULL = 2.0  # times its limit: where a bar ends

_STYLE = """\
:root{color-scheme:light dark;supported-color-schemes:light dark}
@media (prefers-color-scheme:dark){
.page{background:#111827!important}.card{background:#1f2937!important}
.text,.text td,.text li,h2{color:#f3f4f6!important}
.soft{color:#9ca3af!important}
.code{background:#111827!important;color:#f3f4f6!important;border-color:#4b5563!important}
.rail{background:#374151!important}}
@media (max-width:480px){.card{padding:16px!important}
.row td{display:block;width:auto!important;padding:0 0 2px!important}
.row td+td{padding-bottom:10px!important}}"""


def html(page: Page) -> str:
    """Return a whole HTML document."""
    colour = _TONES.get(page.tone, _OTHER)
    parts = [
        f'<!DOCTYPE html><html lang="{escape(page.language)}"><head>',
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(page.title)}</title><style>{_STYLE}</style></head>",
        '<body class="page" style="margin:0;padding:0;background:#f3f4f6">',
        (
            f'<div class="card text" style="max-width:640px;margin:0 auto;{_FONT};'
            "font-size:15px;line-height:1.5;color:#111827;background:#ffffff;"
            f'border-top:6px solid {colour};padding:24px;overflow-wrap:anywhere">'
        ),
        (
            f'<h2 style="font-size:20px;line-height:1.3;margin:0 0 12px;color:#111827">'
            f"{escape(page.title)}</h2>"
        ),
    ]
    parts += [f'<p style="margin:0 0 12px">{escape(text)}</p>' for text in page.lead]
    if page.rows:
        parts.append(
            '<table role="presentation" style="border-collapse:collapse;width:100%">'
        )
        parts += [_row(name, value) for name, value in page.rows]
        parts.append("</table>")
    heading, bars = page.bars
    if bars:
        parts.append(f'<h2 style="{_HEADING}">{escape(heading)}</h2>')
        parts += [_bar(bar, colour) for bar in bars]
    for heading, items in page.lists:
        parts.append(f'<h2 style="{_HEADING}">{escape(heading)}</h2>')
        parts.append('<ul style="margin:0;padding-left:20px">')
        parts += [f"<li>{escape(item)}</li>" for item in items]
        parts.append("</ul>")
    heading, commands = page.commands
    if commands:
        parts.append(f'<h2 style="{_HEADING}">{escape(heading)}</h2>')
        for command in commands:
            parts.append(
                '<div class="soft" style="font-size:13px;color:#4b5563;margin:8px 0 '
                f'2px">{escape(command.comment)}</div>'
                f'<pre class="code" style="{_MONO};font-size:13px;margin:0;'
                "padding:8px 10px;background:#f3f4f6;color:#111827;border:1px solid "
                "#d1d5db;border-radius:4px;white-space:pre-wrap;"
                f'overflow-wrap:anywhere">{escape(command.line)}</pre>'
            )
    parts.append(
        '<p class="soft" style="font-size:12px;color:#6b7280;margin:24px 0 0">'
        f"{escape(page.foot)}</p></div></body></html>"
    )
    return "\n".join(parts) + "\n"


def _row(name: str, value: str) -> str:
    return (
        '<tr class="row"><td class="soft" style="padding:3px 14px 3px 0;width:34%;'
        f'vertical-align:top;color:#4b5563;font-size:13px">{escape(name)}</td>'
        f'<td style="padding:3px 0;vertical-align:top">{escape(value)}</td></tr>'
    )


def _bar(bar: Bar, colour: str) -> str:
    wide = max(1, min(round(bar.share / _FULL * 100), 100))
    return (
        f'<div style="margin:0 0 8px"><div style="font-size:13px">{escape(bar.name)}'
        f' <span class="soft" style="color:#4b5563">{escape(bar.value)}</span></div>'
        '<div class="rail" style="background:#e5e7eb;height:8px;border-radius:4px">'
        f'<div style="background:{colour};width:{wide}%;height:8px;'
        'border-radius:4px"></div></div></div>'
    )
