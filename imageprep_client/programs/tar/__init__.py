"""GNU tar: archives of root file systems, written and unpacked."""

from imageprep_client.programs.tar.misfits import misfits
from imageprep_client.programs.tar.packing import Packing, copies_in, packing
from imageprep_client.programs.tar.process import TarError
from imageprep_client.programs.tar.unpacking import unpacking

__all__ = [
    "Packing",
    "TarError",
    "copies_in",
    "misfits",
    "packing",
    "unpacking",
]
