"""Several devices: a network's partition into towers, the layers at which they talk, and the ledger of what crossed."""

from tinynet.parallel.communicator import Communicator
from tinynet.parallel.devices import DeviceFailedError
from tinynet.parallel.ledger import Crossing, Ledger
from tinynet.parallel.partition import partition
from tinynet.parallel.towers import Towers

__all__ = ["Communicator", "Crossing", "DeviceFailedError", "Ledger", "Towers", "partition"]
