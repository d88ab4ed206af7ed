"""The words of a `tritonserver` command that are the same wherever it runs: under `conch serve`, or in a container."""

from collections.abc import Iterator, Mapping, Sequence

DRAIN_SECONDS = 5.0
"""So long at most a server that ends waits for connections to be closed, and once more for what its models do."""


def arguments(
    repository: str, host: str, ports: Mapping[str, int], options: Sequence[str], *, exit_on_error: bool
) -> Iterator[str]:
    """What follows the program.

    Args:
        repository: The folder of the models, as the server finds it.
        host: The address that it binds to.
        ports: By service, "HTTP", "gRPC" and "metrics".
        options: What else it is told, as `model_options`.
        exit_on_error: Whether it ends where a model does not load.
    """
    yield f"--model-repository={repository}"
    for service, port in ports.items():
        yield f"--{service.lower()}-address={host}"
        yield f"--{service.lower()}-port={port}"
    yield f"--exit-on-error={str(exit_on_error).lower()}"
    # Requests in flight are waited for; so are idle connections and sequences that nobody ends, hence not long.
    yield f"--exit-timeout-secs={DRAIN_SECONDS:.0f}"
    yield from options
