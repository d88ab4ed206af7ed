"""Which kind of store an address is of."""

from serving.store.object_store import ObjectStore
from serving.store.registry import SCHEME, OciStore
from serving.store.store import Store


def open_store(url: str, *, make: bool = False) -> Store:
    """The store at `url`: see `ObjectStore` and `OciStore`, which a `ServingError` comes from."""
    return OciStore(url) if url.startswith(SCHEME) else ObjectStore(url, make=make)
