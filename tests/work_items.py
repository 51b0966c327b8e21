"""Functions that executors call in other processes."""

import os
import time
from pathlib import Path


def double(item):
    return 2 * item


def fail_on_three(item):
    if item == 3:
        raise ValueError("three")
    return item


def die_once(item):
    """The process that meets item 3 for the first time is killed."""
    folder, number = item
    Path(folder, f"seen_{number}_{time.time_ns()}").touch()
    mark = Path(folder, "dead")
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), 9)
    time.sleep(0.01)
    return number


def die_always(number):
    if number == 3:
        os.kill(os.getpid(), 9)
    return number


def where(item):
    """The process that does an item; it waits for a second one, which may need its time to start."""
    folder, number = item
    Path(folder, str(os.getpid())).touch()
    deadline = time.monotonic() + 60
    while len(os.listdir(folder)) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    return os.getpid()


class FailsOn:
    """A plan that draws no map of the files named: it ends their process, or raises what is not featscope's."""

    def __init__(self, names, how):
        self.names, self.how = names, how

    def draw(self, feature_map, folder, outcome):
        if feature_map.file.path.stem in self.names:
            if self.how is None:
                os.kill(os.getpid(), 9)
            raise self.how
        (folder / f"{feature_map.stem}.png").write_bytes(b"drawn")
        outcome.pictures += 1

    def values(self, feature_map):
        if feature_map.file.path.stem in self.names:
            if self.how is None:
                os.kill(os.getpid(), 9)
            raise self.how
        return feature_map.array


def sleep_for_ever(item):
    Path(item).touch()
    while True:
        time.sleep(60)


def parent_of_workers(folder, workers):
    """A process whose workers never end by themselves."""
    from featscope.scale.parallel import executor_named

    list(executor_named(f"processes:{workers}")(sleep_for_ever, [str(Path(folder, str(i))) for i in range(workers)]))
