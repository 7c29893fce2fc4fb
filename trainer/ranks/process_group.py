"""The process group of a run: sums over ranks, and the few other exchanges between them.

With one process nothing is sent and nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from schemas.errors import InputError

PATIENCE = timedelta(
    minutes=30
)  # the longest wait for another rank, such as the leader while it fills the frozen store


class RankLostError(InputError):
    """Another process of the run has ended."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's place among the processes of the run."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0


ALONE = Ranks()


def launched() -> bool:
    """Whether torchrun started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


@contextmanager
def process_group() -> Iterator[Ranks]:
    """Inside, this process belongs to the group that torchrun started; without torchrun it is alone."""
    if not launched():
        yield ALONE
        return
    # GPU gradients use nccl, numbers on the CPU gloo.
    if torch.cuda.is_available():
        torch.cuda.set_device(dist.get_node_local_rank())
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    yield Ranks(dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()  # not after an error: the others may be waiting in a collective


@contextmanager
def leader_first(ranks: Ranks) -> Iterator[None]:
    """The leader enters first, the others after it has left: they find its files on disk."""
    if not ranks.leads:
        wait_for_all()
    yield
    if ranks.leads:
        wait_for_all()


def sum_in_place(tensor: Tensor) -> None:
    """The tensor summed over all ranks."""
    if _connected():
        _all_reduce(tensor)


def begin_sum(tensor: Tensor) -> Callable[[], None]:
    """Begin to sum the tensor over all ranks, in place. The result waits for the sum: on a GPU, its stream does.

    There must be several ranks. Until then nothing may read or write the tensor.
    """
    with _naming_the_loss():
        work = dist.all_reduce(tensor, async_op=True)

    def wait() -> None:
        with _naming_the_loss():
            work.wait()

    return wait


def summed(numbers: Sequence[float]) -> list[float]:
    """Each number summed over all ranks; if ranks pass lists of different lengths, missing numbers count as 0."""
    if not _connected():
        return list(numbers)
    length = torch.tensor(len(numbers))
    _all_reduce(length, dist.ReduceOp.MAX)
    sums = torch.zeros(int(length), dtype=torch.float64)
    sums[: len(numbers)] = torch.tensor(numbers, dtype=torch.float64)
    _all_reduce(sums)
    return [float(number) for number in sums]


def wait_for_all() -> None:
    """Return when every rank has made this call."""
    summed([0.0])


def meeting_of_threads() -> Callable[[], None]:
    """A wait_for_all for a second thread of each rank. All ranks must call this, in their main threads.

    It has a group with connections of its own: collectives of two threads on one group would interleave, in another
    order on each rank. As in every group, the end of a rank raises RankLostError in the threads that wait for it.
    """
    if not _connected():
        return wait_for_all
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    return lambda: _all_reduce(torch.zeros(1), group=group)


def broadcast_from_leader(number: float, ranks: Ranks) -> float:
    """The leader's number, on every rank."""
    return summed([number if ranks.leads else 0.0])[0]


def _connected() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _all_reduce(
    tensor: Tensor,
    operation: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM,
    group: dist.ProcessGroup | None = None,
) -> None:
    """`group`: None = the group of all ranks' main threads."""
    with _naming_the_loss():
        dist.all_reduce(tensor, operation, group)


@contextmanager
def _naming_the_loss() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # each back end's error for a connection that is gone or timed out
        reason = str(error).splitlines()[0]
        raise RankLostError(
            f"another process of this run is gone; its own message states why ({reason}). "
            "Start the same command again with --resume auto"
        ) from error
