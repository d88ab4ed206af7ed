from typing import Any

from loadtest.locust_page import with_verdict

RUN: dict[str, Any] = {
    "verdict": "BROKEN",
    "model": "<cnn>",
    "url": "http://localhost:8000",
    "rate": 60.0,
    "arrivals": "poisson",
    "promises": [{"model": "<cnn>", "metric": "p99_ms", "limit": 5.0, "verdict": "BROKEN"}],
}


def test_locusts_page_says_host_rate_promise_and_verdict() -> None:
    page = '<script>"<body>"</script><body><div id="root"></div></body>'
    text = with_verdict(page, RUN)
    head = text[text.index("</script><body>") :]
    for words in ("BROKEN", "&lt;cnn&gt;", "http://localhost:8000", "60 requests/s", "p99_ms at most 5: BROKEN"):
        assert words in head
    assert text.startswith('<script>"<body>"</script>')
    assert with_verdict("another page", RUN) == "another page"
