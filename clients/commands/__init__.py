"""The command line, one file a command."""

from clients.commands.classify import Classify
from clients.commands.complete import Complete
from clients.commands.denoise import Denoise
from clients.commands.enlarge import Enlarge
from clients.commands.generate import Generate
from clients.commands.infer import Infer
from clients.commands.status import Status
from clients.commands.watch import Watch

Command = Status | Infer | Classify | Denoise | Enlarge | Generate | Complete | Watch

__all__ = ["Command"]
