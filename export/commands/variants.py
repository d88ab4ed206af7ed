"""Make a variant and show it, or what was tried in vain."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from conch import command_line

if TYPE_CHECKING:
    from export.precision.variant import Progress, Variant


def shown(screen: Console, model: str, make: Callable[[Progress], Variant], documents: list[dict[str, Any]]) -> bool:
    """Whether `make` published a variant of `model`; its document, or that of what failed, is added to `documents`."""
    from export.commands.documents import failure_document, variant_document
    from export.commands.tables import print_failure
    from export.precision.gate import PrecisionRefused
    from export.precision.table import print_tries, print_variant
    from export.publication.pipeline import ProofFailed

    started = time.perf_counter()
    try:
        with screen.status(escape(model)) as status:
            variant = make(lambda text: status.update(escape(text)))
    except ProofFailed as failed:
        print_failure(screen, failed)
        documents.append(failure_document(model, failed))
        command_line.fail(str(failed))
        return False
    except PrecisionRefused as refused:
        print_tries(screen, model, refused.tries)
        documents.append(failure_document(model, refused, refused.tries))
        command_line.fail(str(refused))
        return False
    print_variant(screen, variant, time.perf_counter() - started)
    documents.append(variant_document(variant.name, variant.version, variant.tries, variant.chosen))
    return True
