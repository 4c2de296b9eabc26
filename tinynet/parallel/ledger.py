"""The ledger: every crossing between devices, as it happened in the last step."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Crossing:
    """One exchange between devices.

    layer: the layer that needed it, or whose gradients these are. direction: "forward", "backward" or, of parameters
    that replicas have alike, "gradient". operation: "all_gather", "reduce_scatter", "all_reduce" or "broadcast".
    received: the bytes that each device got from the others, in the order of the devices.
    """

    layer: str
    direction: str
    operation: str
    received: tuple[int, ...]


class Ledger:
    """What crossed since the last `clear`: a network on several devices clears it when a forward pass begins.

    Each device writes its own column, so that devices need not wait for each other to keep it.
    """

    def __init__(self, devices: int, kind: str = "device"):
        self._kind = kind
        self._columns: list[list[tuple[str, str, str, int]]] = [[] for _ in range(devices)]

    def clear(self) -> None:
        for column in self._columns:
            column.clear()

    def record(self, device: int, layer: str, direction: str, operation: str, received: int) -> None:
        """Notes that `device` got `received` bytes from the others."""
        self._columns[device].append((layer, direction, operation, received))

    def column(self, device: int) -> list[tuple[str, str, str, int]]:
        """What one device has noted: layer, direction, operation and bytes."""
        return list(self._columns[device])

    @property
    def crossings(self) -> list[Crossing]:
        """In the order in which they happened, the same on every device; those that all devices came to."""
        rows = zip(*self._columns, strict=False)  # an error may have stopped one device before the others
        crossings = []
        for row in rows:
            layer, direction, operation, _ = row[0]
            crossings.append(Crossing(layer, direction, operation, tuple(received for *_, received in row)))
        return crossings

    @property
    def total(self) -> int:
        """Bytes received by all devices together."""
        return sum(sum(crossing.received) for crossing in self.crossings)

    def __str__(self) -> str:
        head = f"{'layer':10}{'direction':11}{'operation':16}"
        lines = [head + "".join(f"{f'{self._kind} {device}':>16}" for device in range(len(self._columns)))]
        for crossing in self.crossings:
            line = f"{crossing.layer:10}{crossing.direction:11}{crossing.operation:16}"
            lines.append(line + "".join(f"{received:>14,} B" for received in crossing.received))
        return "\n".join([*lines, f"{'total':37}{self.total:>14,} B"])
