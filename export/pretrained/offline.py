"""transformers as this kit uses it: nothing downloaded, nothing reported to anybody, nothing printed but errors."""

from __future__ import annotations

import os
from types import ModuleType

from conch.contracts.errors import ConchError

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Read by the libraries when they are first imported."""


def load_transformers() -> ModuleType:
    """The module `transformers`, offline.

    Raises:
        ConchError: it is not installed.
    """
    os.environ.update(SETTINGS)
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise ConchError(f"{error.name} is not installed: pip install 'conch[cpu,pretrained]'") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers
