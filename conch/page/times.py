"""What a request took, as HTML."""

from __future__ import annotations

from html import escape

from conch.page.asking import Times


def times_html(times: Times, version: str, runs_on: str) -> str:
    """Where its time went, which version answered and what that runs on."""
    said = [f"<strong>{_ms(times.whole)}</strong>"]
    if times.network is not None and times.queue is not None and times.compute is not None:
        parts = (("network", times.network), ("queue", times.queue), ("compute", times.compute))
        said += [f"{name} {_ms(part)}" for name, part in parts]
        whole = max(sum(part for _, part in parts), 1e-9)
        pieces = "".join(f'<i class="{name}" style="width:{part / whole:.1%}"></i>' for name, part in parts)
        strip = f'<div class="split" aria-hidden="true">{pieces}</div>'
    else:
        strip = ""
        if times.queue is not None and times.compute is not None:
            said += [f"queue {_ms(times.queue)}, compute {_ms(times.compute)}: the mean of {times.shared + 1} requests"]
    said += [f"version {escape(version)}"] if version else []
    said += [f"ran {escape(runs_on)}"] if runs_on else []
    return f'{strip}<p class="times small">{" · ".join(said)}</p>'


def _ms(value: float) -> str:
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"
