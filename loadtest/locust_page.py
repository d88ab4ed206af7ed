"""Locust's own page, which knows neither promise nor verdict, with a head that says them."""

from typing import Any

from markupsafe import Markup

BODY = "<body>"

HEAD = Markup(
    '<div style="max-width: 1200px; margin: 0 auto; padding: 1rem 24px 0; font: 16px/1.5 system-ui, sans-serif">'
    "<strong>{verdict}</strong>: {model} at {url}, {rate:g} requests/s planned ({arrivals}). "
    'Promised: {promises}. <a href="index.html">The page of this run</a></div>'
)


def with_verdict(page: str, run: dict[str, Any]) -> str:
    """`page` with host, rate, promises and verdict of a run.json above what Locust shows; a page of a Locust that
    writes no plain <body> stays as it is."""
    several = len({promise["model"] for promise in run["promises"]}) > 1
    promises = "; ".join(
        f"{entry['model'] + ' ' if several else ''}{entry['metric']} at most {entry['limit']:g}: {entry['verdict']}"
        for entry in run["promises"]
    )
    head = HEAD.format(**(run | {"promises": promises or "nothing"}))
    # Its scripts stand before it: only the last one is the document's.
    before, body, after = page.rpartition(BODY)
    return f"{before}{body}{head}{after}" if body else page
