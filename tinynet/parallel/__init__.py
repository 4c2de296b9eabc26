"""Several devices: a network's partition into towers, the layers at which they talk, and the ledger of what crossed;
and a mesh of MPI's ranks, on as many machines as there are.
"""

from tinynet.parallel.communicator import Communicator
from tinynet.parallel.devices import DeviceFailedError
from tinynet.parallel.ledger import Crossing, Ledger
from tinynet.parallel.mesh import Mesh, parse_mesh
from tinynet.parallel.mpi import MPICommunicator
from tinynet.parallel.partition import partition
from tinynet.parallel.ranks import Ranks, spread
from tinynet.parallel.towers import Towers

__all__ = [
    "Communicator",
    "Crossing",
    "DeviceFailedError",
    "Ledger",
    "MPICommunicator",
    "Mesh",
    "Ranks",
    "Towers",
    "parse_mesh",
    "partition",
    "spread",
]
