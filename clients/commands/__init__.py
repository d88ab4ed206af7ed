"""The command line, one file a command."""

from clients.commands.caption import Caption
from clients.commands.classify import Classify
from clients.commands.complete import Complete
from clients.commands.denoise import Denoise
from clients.commands.detect import Detect
from clients.commands.drive import Drive
from clients.commands.enlarge import Enlarge
from clients.commands.generate import Generate
from clients.commands.generate_text import GenerateText
from clients.commands.infer import Infer
from clients.commands.segment import Segment
from clients.commands.status import Status
from clients.commands.stylise import Stylise
from clients.commands.translate import Translate
from clients.commands.watch import Watch

Command = (
    Status
    | Infer
    | Classify
    | Segment
    | Detect
    | Caption
    | Denoise
    | Enlarge
    | Stylise
    | Generate
    | GenerateText
    | Complete
    | Translate
    | Drive
    | Watch
)

__all__ = ["Command"]
