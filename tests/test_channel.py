"""The channel: order, bounds, closing, dropping, select and merge, from one thread and from many."""

from __future__ import annotations

import collections
import gc
import itertools
import queue
import signal
import subprocess
import sys
import threading
import time
import types
from typing import Any, List

import pytest
from conftest import TIMEOUT, join
from loopback import until

from anyllm._concurrency import waiters
from anyllm._concurrency.pipe import Pipe
from anyllm.channel import Channel, Sender, merge, open_channel, select
from anyllm.context import Context


def until_receiving(channel, count=1):
    """Wait until *count* receivers stand in line, which is as good as blocked."""
    until(lambda: len(channel._pipe.receivers) >= count)


def until_sending(sender, count=1):
    until(lambda: len(sender._pipe.senders) >= count)


def put_numbers(sender, who, count):
    for number in range(count):
        assert sender.put((who, number))
    return numbers(who, count)


def numbers(who, count):
    return [(who, number) for number in range(count)]


def concatenated(lists):
    return [item for items in lists for item in items]


# Sending and receiving.


@pytest.mark.parametrize("buffer", [1, 2, 7, 64])
@pytest.mark.usefixtures("fast_switches")
def test_many_producers_and_consumers_lose_and_double_nothing(spawn, buffer):
    """Exact counts over all, and each consumer gets each producer's items in the order they were put."""
    sender, channel = open_channel(buffer)
    sending = [spawn(put_numbers, sender, who, 300) for who in range(4)]
    receiving = [spawn(list, channel) for _ in range(4)]
    expected = concatenated(join(sending))
    sender.close()
    lists = join(receiving)
    assert sorted(concatenated(lists)) == expected
    for items in lists:
        for who in range(4):
            ours = [item for item in items if item[0] == who]
            assert ours == sorted(ours)


@pytest.mark.usefixtures("fast_switches")
def test_one_consumer_gets_each_producer_in_order_with_put_many(spawn):
    """A batch may be cut where the buffer is full, but never reordered."""
    sender, channel = open_channel(5)

    def produce(who):
        for first in range(0, 300, 12):
            assert sender.put_many([(who, number) for number in range(first, first + 12)])

    sending = [spawn(produce, who) for who in range(3)]
    receiving = spawn(list, channel)
    join(sending)
    sender.close()
    items = receiving.join()
    for who in range(3):
        assert [item for item in items if item[0] == who] == numbers(who, 300)


@pytest.mark.parametrize("buffer", [1, 3, 64])
@pytest.mark.usefixtures("fast_switches")
def test_the_bound_is_never_exceeded(spawn, buffer):
    """Backpressure is exact, however many send: sampled by every sender, every receiver and a bystander."""
    sender, channel = open_channel(buffer)
    most: List[int] = []
    over = threading.Event()

    def produce():
        for number in range(300):
            assert sender.put(number)
            most.append(channel.qsize())

    def watch():
        while not over.is_set():
            most.append(channel.qsize())
            time.sleep(0)

    def consume():
        most.extend(channel.qsize() for _ in iter(channel.get, None))

    watching, receiving = spawn(watch), spawn(consume)
    join([spawn(produce) for _ in range(4)])
    sender.close()
    receiving.join()
    over.set()
    watching.join()
    assert 0 < max(most) <= buffer


def test_two_senders_never_take_the_same_room(spawn):
    """The other one comes exactly between the look at the size and the append."""
    sender, channel = open_channel(1)
    others = []

    class Looked(collections.deque):  # type: ignore[type-arg]
        def __len__(self):
            size = super().__len__()
            if not others:
                others.append(None)
                others.append(spawn(sender.try_put, "other"))
                threading.Thread.join(others[1], 0.1)  # it either slips in, or waits for us to finish
            return size

    sender._pipe.items = Looked()
    assert [sender.try_put("one"), others[1].join()] == [True, False]
    assert channel.qsize() == 1


def test_a_full_channel_takes_no_more():
    """try_put says so; put waits, at most as long as it was told."""
    sender, channel = open_channel(2)
    assert sender.try_put(1)
    assert sender.put(2)
    assert channel.full()
    assert not sender.try_put(3)
    with pytest.raises(queue.Full):
        sender.put(3, timeout=0)
    with pytest.raises(ValueError, match="negative"):
        sender.put(3, timeout=-1)
    assert [channel.get(), channel.get()] == [1, 2]
    assert not sender.closed


def test_every_sender_that_waits_gets_room(spawn):
    """A consumer that takes everything wakes them all, though it wakes only one at a time."""
    for buffer in (1, 2, 5):
        sender, channel = open_channel(buffer)
        sender.put_many([-1] * buffer)
        tasks = [spawn(sender.put, number) for number in range(6)]
        until_sending(sender, 6)
        items = [channel.get(timeout=TIMEOUT) for _ in range(buffer + 6)]
        assert sorted(items) == [-1] * buffer + list(range(6))
        assert all(join(tasks))


def test_none_cannot_be_sent():
    """None is what a closed channel gives: one that was sent would end the loop early."""
    sender, channel = open_channel(4)
    for send in (sender.put, sender.try_put, lambda item: sender.put_many(["a", item])):
        with pytest.raises(TypeError, match="None cannot be sent"):
            send(None)
    assert channel.empty()


def test_items_are_never_compared():
    """Arrays and tables answer == with something that has no truth value."""

    class Table:
        def __eq__(self, other: object) -> bool:
            raise TypeError("a table has no truth value")

        __hash__ = None  # type: ignore[assignment]

    one, two = Table(), Table()
    sender, channel = open_channel(4)
    assert sender.put_many([one, two])
    assert channel.get() is one
    assert channel.get() is two


def test_false_and_zero_are_items():
    """Only None ends; a loop that tested the truth of items would lose these."""
    sender, channel = open_channel(4)
    sender.put_many([0, "", False])
    sender.close()
    assert list(channel) == [0, "", False]


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        *[(size, ValueError, "at least 1") for size in (0, -1)],  # a queue.Queue of size 0 is unbounded
        *[(size, TypeError, "must be an int") for size in (True, 1.0, "1", None)],
    ],
)
def test_the_size_is_an_int_of_at_least_one(size, error, message):
    with pytest.raises(error, match=message):
        open_channel(size)


# Receiving as queue.Queue has it.


def test_get_raises_empty_in_time():
    """Users know these from queue.Queue: block, timeout, and which of the two wins."""
    _sender, channel = open_channel(1)
    for receive in (
        channel.get_nowait,
        lambda: channel.get(False),
        lambda: channel.get(block=False),
        lambda: channel.get(True, 0),
        lambda: channel.get(timeout=0.001),
        lambda: channel.get(False, 1000),
        lambda: channel.get(False, -1),  # queue.Queue does not look at it either
    ):
        with pytest.raises(queue.Empty):
            receive()


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_get_refuses_a_negative_time(spawn, timeout):
    """As queue.Queue does, and also when an item is there already."""
    sender, channel = open_channel(1)
    with pytest.raises(ValueError, match="negative"):
        spawn(channel.get, timeout=timeout).join()
    sender.put("item")
    with pytest.raises(ValueError, match="negative"):
        channel.get(timeout=timeout)
    assert channel.get() == "item"


def test_every_way_to_receive_gets_the_items_and_the_end():
    """for, iter(get, None), the walrus loop, recv and get_nowait all end, and stay ended."""

    def closed_with(*items: str) -> Channel[Any]:
        sender, channel = open_channel(4)
        sender.put_many(items)
        sender.close()
        return channel

    channel = closed_with("a", "b")
    assert list(channel) == ["a", "b"]
    assert list(channel) == []
    assert list(iter(closed_with("a", "b").get, None)) == ["a", "b"]
    channel, items = closed_with("a", "b"), []
    while (item := channel.get()) is not None:
        items.append(item)
    assert items == ["a", "b"]
    channel = closed_with("a")
    assert [channel.recv() for _ in range(3)] == [("a", True), (None, False), (None, False)]
    channel = closed_with("a")
    assert [channel.get_nowait() for _ in range(3)] == ["a", None, None]
    assert channel.get(timeout=0) is None
    assert channel.get(timeout=1000) is None


@pytest.mark.parametrize("receive", ["get", "recv", "for", "timeout", "select"])
def test_a_blocked_receive_gets_what_is_put(spawn, receive):
    """Whoever waits is woken by the put, not by a time-out."""
    sender, channel = open_channel(1)
    ways = {
        "get": channel.get,
        "recv": lambda: channel.recv()[0],
        "for": lambda: next(iter(channel)),
        "timeout": lambda: channel.get(timeout=1000),
        "select": lambda: select(channel)[1],
    }
    task = spawn(ways[receive])
    until_receiving(channel)
    assert sender.put("item")
    assert task.join() == "item"


def test_looking_counts_what_waits():
    """qsize, empty, full, maxsize and the repr agree; what the close brought counts too."""
    sender, channel = open_channel(2)
    assert (channel.qsize(), channel.empty(), channel.full(), channel.maxsize) == (0, True, False, 2)
    assert repr(channel) == "<Channel open, 0 of 2 waiting>"
    sender.put_many("ab")
    assert (channel.qsize(), channel.empty(), channel.full()) == (2, False, True)
    sender.close("c")
    assert channel.closed
    assert repr(channel) == "<Channel closed, 3 of 2 waiting>"
    for left in (2, 1, 0):
        channel.get()
        assert channel.qsize() == left
    assert channel.empty()
    assert channel.get() is None
    assert channel.qsize() == 0


# Closing.


@pytest.mark.parametrize("buffer", [2, 3])
def test_closing_loses_nothing_and_nothing_can_be_put_after_it(buffer):
    """P6: `closed` is true before the end is received; the last item needs no room; late items change nothing."""
    sender, channel = open_channel(buffer)
    sender.put_many("ab")
    sender.close("last")
    assert channel.closed
    assert sender.closed
    received = []
    for _ in range(4):
        assert not sender.put("late")
        assert not sender.try_put("late")
        assert not sender.put_many(["late", "later"])
        received.append(channel.get())
    assert received == ["a", "b", "last", None]


def test_items_without_room_are_in_the_senders_hand(spawn):
    """They can be received all the same, and are counted; the sender sleeps until half is free."""
    sender, channel = open_channel(4)
    sent = spawn(sender.put_many, list(range(10)))
    until_sending(sender, 1)
    assert (channel.qsize(), channel.full()) == (10, True)
    assert not sender.try_put("not now")
    assert [channel.get_nowait() for _ in range(7)] == list(range(7))
    assert channel._pipe.senders, "woken before half was free"
    assert [channel.get_nowait() for _ in range(3)] == [7, 8, 9]
    assert sent.join() is True
    assert channel.empty()


def test_items_in_the_hand_at_the_close_were_not_put(spawn):
    sender, channel = open_channel(4)
    sender.put("a")
    sent = spawn(sender.put_many, list("bcdefg"))
    until_sending(sender, 1)
    sender.close()
    assert sent.join() is False
    assert list(channel) == list("abcd")


def test_a_hand_emptied_before_its_sender_saw_the_close_was_put(monkeypatch, spawn):
    """A quick receiver has them, so `put_many` says so."""
    sender, channel = open_channel(2)
    waits = sender._wait_for_room

    def wait(deadline: Any) -> bool:
        room = waits(deadline)
        received.extend(iter(channel.get_nowait, None))
        return room

    received: List[Any] = []
    monkeypatch.setattr(Sender, "_wait_for_room", lambda self, deadline: wait(deadline))
    sent = spawn(sender.put_many, list("abcde"))
    until_sending(sender, 1)
    sender.close()
    assert sent.join() is True
    assert received == list("abcde")


def test_the_hand_of_another_sender_is_left_alone(spawn):
    sender, channel = open_channel(2)
    first = spawn(sender.put_many, list("abcd"))
    until_sending(sender, 1)
    second = spawn(sender.put_many, list("efgh"))
    until_sending(sender, 2)
    assert [channel.get() for _ in range(4)] == list("abcd")
    assert first.join() is True
    until_sending(sender, 1)
    assert channel.get() == "e"
    sender.close()
    assert second.join() is False
    assert list(channel) == list("fg")


@pytest.mark.usefixtures("fast_switches")
def test_only_the_first_close_decides_what_comes_last(spawn):
    """Two threads that end a stream at once must not both report an error."""
    for _ in range(150):
        sender, channel = open_channel(1)
        start = threading.Barrier(3)

        def close(last, start=start, sender=sender):
            start.wait(TIMEOUT)
            sender.close(last)

        join([spawn(close, number) for number in range(3)])
        assert len(list(channel)) == 1
        sender.close("again")
        assert channel.get() is None


def test_close_wakes_a_blocked_get_a_blocked_select_and_a_blocked_put(spawn):
    """Everyone who waits on a channel hears of its end."""
    empty, receiving = open_channel(1)
    _other_sender, other = open_channel(1)
    tasks = [spawn(receiving.get), spawn(receiving.recv), spawn(list, receiving), spawn(select, other, receiving)]
    both = merge(receiving, receiving)
    tasks.append(spawn(both.get))
    until_receiving(receiving, 4)
    until_receiving(both)
    empty.close()
    assert join(tasks) == [None, (None, False), [], (receiving, None), None]

    full, channel = open_channel(1)
    full.put("a")
    tasks = [spawn(full.put, "b"), spawn(full.put, "c", timeout=1000), spawn(full.put_many, "de")]
    until_sending(full, 3)
    full.close()
    assert join(tasks) == [False, False, False]
    assert list(channel) == ["a"]


@pytest.mark.parametrize("buffer", [1, 3, 1000])
@pytest.mark.usefixtures("fast_switches")
def test_a_put_that_races_with_the_close_tells_the_truth(spawn, buffer):
    """True: it will be received; False: it will not. And after the end was seen, nothing comes."""
    for _ in range(60):
        sender, channel = open_channel(buffer)
        start = threading.Barrier(7)

        def produce(who, start=start, sender=sender):
            start.wait(TIMEOUT)
            return list(itertools.takewhile(sender.put, numbers(who, 50)))

        def produce_batches(who, start=start, sender=sender):
            start.wait(TIMEOUT)
            batches = []
            for number in range(0, 50, 5):
                batches.append([(who, number + part) for part in range(5)])
                if not sender.put_many(batches[-1]):
                    break
            else:
                batches.append([])
            return batches

        def consume(start=start, channel=channel):
            start.wait(TIMEOUT)
            items = list(channel)
            assert channel.get(timeout=TIMEOUT) is None
            return items

        def close(start=start, sender=sender):
            start.wait(TIMEOUT)
            time.sleep(0)
            sender.close()

        sending = [spawn(produce, who) for who in range(4)]
        receiving, closing, batching = spawn(consume), spawn(close), spawn(produce_batches, 4)
        accepted = concatenated(join(sending))
        *whole, cut = batching.join()
        closing.join()
        received = receiving.join()
        in_batches = [item for item in received if item[0] == 4]
        assert sorted(item for item in received if item[0] < 4) == sorted(accepted)
        assert in_batches[: 5 * len(whole)] == [item for batch in whole for item in batch]
        rest = in_batches[5 * len(whole) :]
        assert rest == cut[: len(rest)]
        assert not rest or rest != cut
        assert channel.get() is None


def test_a_put_overtaken_by_the_close_is_taken_back(spawn):
    """The sender had looked before the close, and appends after it: the item must not come after the end."""
    sender, channel = open_channel(4)
    received = []

    class Late(collections.deque):  # type: ignore[type-arg]
        """Closes, and has the end received, between the sender's look and its append."""

        def append(self, item):
            sender.close()
            received.append(channel.get(timeout=TIMEOUT))
            super().append(item)

    sender._pipe.items = Late()
    assert not sender.put("late")
    assert received == [None]
    assert channel.get(timeout=TIMEOUT) is None
    assert list(channel) == []


# Dropping. Each function drops the only channel in a list; it returns an object that holds the channel all the same.


def break_the_loop(channels):
    for _ in channels.pop():
        break


def raise_in_the_loop(channels):
    """The traceback holds the frame, and that the channel."""
    channel = channels.pop()
    try:
        for item in channel:
            raise LookupError(item)
    except LookupError as exc:
        return exc


def make_a_cycle(channels):
    """An object that holds itself and the channel lives until the collector comes."""
    page = types.SimpleNamespace(chunks=channels.pop())
    page.me = page


def iterate(channels):
    """The iterator holds the channel, and only that."""
    items = iter(channels.pop())
    assert next(items) == "a"
    return items


@pytest.mark.parametrize("drop", [list.clear, break_the_loop, raise_in_the_loop, make_a_cycle, iterate])
def test_dropping_the_receive_end_frees_a_blocked_sender(spawn, drop):
    """P4: a consumer that goes away, however, ends its producer."""
    sender, channel = open_channel(1)
    sender.put("a")
    task = spawn(sender.put_many, "bcde")  # without room, also when "a" is received
    until_sending(sender)
    channels = [channel]
    del channel
    holder = drop(channels)
    gc.collect()
    assert sender.closed == (holder is None)
    del holder
    gc.collect()
    assert task.join() is False
    assert sender.closed


def test_dropping_the_send_end_closes_nothing():
    """Another thread may still close the channel."""
    sender, channel = open_channel(1)
    sender.put("a")
    del sender
    assert not channel.closed
    assert channel.get() == "a"


def test_on_drop_replaces_the_close():
    """The stream cancels itself when its consumer goes."""
    dropped = []
    sender, channel = open_channel(1, on_drop=lambda: dropped.append(True))
    del channel
    gc.collect()
    assert dropped == [True]
    assert not sender.closed


def test_a_merged_channel_drops_its_sources(spawn):
    """They live as long as it does, and no longer."""
    (one, first), (two, second) = open_channel(1), open_channel(1)
    both = merge(first, second)
    del first, second
    gc.collect()
    assert not one.closed
    two.put("a")
    task = spawn(two.put, "b")
    until_sending(two)
    del both
    gc.collect()
    assert task.join() is False
    assert one.closed


# select.


def test_select_looks_in_the_order_given():
    """What stands first wins, so a cancel can be given precedence."""
    (one, first), (two, second) = open_channel(1), open_channel(1)
    one.put("a")
    two.put("b")
    assert select(second, first) == (second, "b")
    assert select(second, first) == (first, "a")


def test_select_raises_empty_in_time():
    """An item that is there comes even with a time-out of 0."""
    sender, channel = open_channel(1)
    for timeout in (0, 0.001):
        with pytest.raises(queue.Empty):
            select(channel, timeout=timeout)
    sender.put("a")
    assert select(channel, timeout=0) == (channel, "a")


def test_select_refuses_what_it_cannot_wait_for():
    """A list, nothing, or a Context are likely mistakes."""
    sender, channel = open_channel(1)
    for wrong in ((), ([channel],), (channel, Context()), (sender,)):
        with pytest.raises(TypeError, match=r"ctx\.done"):
            select(*wrong)
    for timeout in (-1, float("nan")):
        with pytest.raises(ValueError, match="negative"):
            select(channel, timeout=timeout)


def test_a_closed_and_drained_channel_is_ready_with_none():
    """As in Go; items that still wait in it come first."""
    sender, channel = open_channel(1)
    _other_sender, other = open_channel(1)
    sender.put("a")
    sender.close()
    assert select(other, channel) == (channel, "a")
    assert select(other, channel, timeout=0) == (channel, None)
    assert select(other, channel) == (channel, None)


def test_select_takes_the_same_channel_twice(spawn):
    """Nothing is lost to the second place in line."""
    sender, channel = open_channel(1)
    task = spawn(select, channel, channel)
    until_receiving(channel, 2)
    sender.put("a")
    assert task.join() == (channel, "a")
    sender.put("b")
    assert channel.get(timeout=TIMEOUT) == "b"


@pytest.mark.parametrize("end", ["cancel", "deadline", "parent"])
def test_select_wakes_when_a_context_ends(spawn, end):
    """The reason for ctx.done()."""
    _sender, channel = open_channel(1)
    parent = Context()
    ctx = parent.child(0.05 if end == "deadline" else None)
    done = ctx.done()
    task = spawn(select, channel, done)
    if end != "deadline":
        until_receiving(done)
        (ctx if end == "cancel" else parent).cancel()
    assert task.join() == (done, None)


def test_a_wake_up_that_is_not_used_is_passed_on(spawn):
    """
    The selector is woken for one channel and takes from another: the receiver behind it must hear of the first.

    Made exact by holding the selector back between being woken and looking.
    """
    (one, first), (two, second) = open_channel(1), open_channel(1)
    woken, go_on = threading.Event(), threading.Event()

    class Slow:
        def __getattr__(self, name):
            return getattr(second._pipe, name)

        def take(self):
            if armed and threading.current_thread() is selecting:
                woken.set()
                assert go_on.wait(TIMEOUT)
                armed.clear()
            return second._pipe.take()

    armed: List[bool] = []
    slow: Any = Channel(Slow(), keep=second)  # type: ignore[arg-type]
    selecting = spawn(select, slow, first)  # looks at the second first
    until_receiving(first)
    until_receiving(second)
    receiving = spawn(first.get)
    until_receiving(first, 2)
    armed.append(True)
    one.put("for whoever is left")  # wakes the selector, which stands first in line
    assert woken.wait(TIMEOUT)
    two.put("better")
    go_on.set()
    assert selecting.join() == (slow, "better")
    assert receiving.join() == "for whoever is left"


@pytest.mark.usefixtures("fast_switches")
def test_selectors_and_receivers_on_shared_channels_lose_no_wake_up(spawn):
    """
    One item at a time, which somebody has to take before the next is put: a lost wake-up hangs at once.

    Each round puts into both channels, and waits until all of it has arrived.
    """
    (one, first), (two, second) = open_channel(4), open_channel(4)
    received: queue.Queue[Any] = queue.Queue()

    def selecting(*channels):
        open_ones = list(channels)
        while open_ones:
            channel, item = select(*open_ones)
            if item is None:
                open_ones.remove(channel)
            else:
                received.put(item)

    def receiving(channel):
        for item in channel:
            received.put(item)

    tasks = [spawn(selecting, *channels) for channels in ((first, second), (second, first), (first, second))]
    tasks += [spawn(receiving, channel) for channel in (first, second)]
    for number in range(500):
        count = 1 + number % 3
        for part in range(count):
            one.put((number, "one", part))
            two.put((number, "two", part))
        arrived = sorted(received.get(timeout=TIMEOUT) for _ in range(2 * count))
        assert arrived == sorted((number, name, part) for name in ("one", "two") for part in range(count))
    one.close()
    two.close()
    join(tasks)


@pytest.mark.usefixtures("fast_switches")
def test_receives_that_time_out_lose_no_wake_up(spawn):
    """One that gives up at the moment it is woken passes that on."""
    sender, channel = open_channel(2)
    impatient_are_over = threading.Event()

    def impatient():
        items = []
        while not impatient_are_over.is_set():
            try:
                item = channel.get(timeout=0.00005)
            except queue.Empty:
                continue
            if item is None:
                break
            items.append(item)
        return items

    tasks = [spawn(impatient) for _ in range(3)]
    tasks += [spawn(list, channel) for _ in range(2)]
    for number in range(1500):
        sender.put(number, timeout=TIMEOUT)
    sender.close()
    items = concatenated(join(tasks))
    impatient_are_over.set()
    assert sorted(items) == list(range(1500))


def test_room_that_is_not_used_is_passed_on(spawn, monkeypatch):
    """The sender that was woken dies of Ctrl-C before it puts: the next in line must hear of the room."""
    sender, channel = open_channel(1)
    sender.put("first")
    real, dying = waiters.wait, []

    def wait(waiter, deadline):
        woken = real(waiter, deadline)
        if threading.current_thread() in dying:
            raise KeyboardInterrupt
        return woken

    monkeypatch.setattr(waiters, "wait", wait)
    interrupted = spawn(sender.put, "never")
    dying.append(interrupted)
    until_sending(sender)
    patient = spawn(sender.put, "second")
    until_sending(sender, 2)
    assert channel.get(timeout=TIMEOUT) == "first"
    with pytest.raises(KeyboardInterrupt):
        interrupted.join()
    assert patient.join()
    assert channel.get(timeout=TIMEOUT) == "second"


@pytest.mark.usefixtures("fast_switches")
def test_puts_that_time_out_lose_no_room(spawn):
    """The same for senders: one that gives up when room came passes that on."""
    sender, channel = open_channel(2)

    def impatient(who):
        accepted = []
        for item in numbers(who, 200):
            try:
                sender.put(item, timeout=0.00005)
            except queue.Full:
                continue
            accepted.append(item)
        return accepted

    tasks = [spawn(impatient, who) for who in range(2)] + [spawn(put_numbers, sender, who, 200) for who in (2, 3)]
    receiving = spawn(list, channel)
    accepted = concatenated(join(tasks))
    sender.close()
    assert sorted(receiving.join()) == sorted(accepted)


# merge.


def test_merge_takes_turns_and_keeps_each_in_order():
    """No source starves behind a busy one."""
    pairs = [open_channel(3) for _ in range(3)]
    for name, (sender, _channel) in zip("abc", pairs):
        sender.put_many([name + "1", name + "2", name + "3"])
        sender.close()
    both = merge(*(channel for _sender, channel in pairs))
    items = list(both)
    assert sorted(items[:3]) == ["a1", "b1", "c1"]
    assert sorted(items[3:6]) == ["a2", "b2", "c2"]
    for name in "abc":
        assert [item for item in items if item[0] == name] == [name + "1", name + "2", name + "3"]


def test_merge_ends_when_all_have_ended(spawn):
    """The end of one is not the end."""
    (one, first), (two, second) = open_channel(1), open_channel(1)
    both = merge(first, second)
    one.close()
    assert not both.closed
    with pytest.raises(queue.Empty):
        both.get(timeout=0)
    task = spawn(list, both)
    until_receiving(both)
    two.put("a")
    two.close()
    assert task.join() == ["a"]
    assert both.closed
    assert both.get() is None


@pytest.mark.parametrize("count", [2, 500])
def test_an_item_of_a_merged_channel_costs_the_same_however_many_there_are(count: int, monkeypatch):
    """Thousands of streams are received as one."""
    pairs = [open_channel(1) for _ in range(count)]
    both, takes = merge(*[channel for _, channel in pairs]), []
    with pytest.raises(queue.Empty):
        both.get_nowait()
    take = Pipe.take
    monkeypatch.setattr(Pipe, "take", lambda pipe: takes.append(pipe) or take(pipe))
    for sender, _ in (pairs[0], pairs[-1], pairs[0]):
        sender.put("a")
        assert both.get() == "a"
    assert len(takes) == 3


def test_merge_of_nothing_is_over():
    both = merge()
    assert both.closed
    assert list(both) == []


def test_merge_refuses_what_is_no_channel():
    """A list of channels is a likely mistake."""
    _sender, channel = open_channel(1)
    for wrong in ([channel], Context(), None):
        with pytest.raises(TypeError, match="expected a Channel"):
            merge(wrong)


@pytest.mark.usefixtures("fast_switches")
def test_merge_of_merges_loses_and_doubles_nothing(spawn):
    """Several threads receive from a tree of merged channels, and select among them."""
    pairs = [open_channel(2) for _ in range(4)]
    channels = [channel for _sender, channel in pairs]
    both = merge(merge(*channels[:2]), merge(*channels[2:]))
    assert both.maxsize == 8

    sending = [spawn(put_numbers, sender, who, 200) for who, (sender, _channel) in enumerate(pairs)]
    receiving = [spawn(list, both), spawn(list, both), spawn(lambda: list(iter(lambda: select(both)[1], None)))]
    expected = concatenated(join(sending))
    for sender, _channel in pairs:
        sender.close()
    assert sorted(concatenated(join(receiving))) == expected


# Hooks and hints.


def test_on_stall_is_called_once_for_a_receive_that_waits_long(spawn):
    """The receive goes on afterwards, and gets its item."""
    stalled: queue.Queue[Any] = queue.Queue()
    sender, channel = open_channel(1, on_stall=(0.01, lambda: not stalled.put(None)))  # True: once is enough
    for receive in (channel.get, lambda: channel.get(timeout=1000), lambda: next(iter(channel))):
        task = spawn(receive)
        stalled.get(timeout=TIMEOUT)
        sender.put("item")
        assert task.join() == "item"
        assert stalled.empty()


def test_on_stall_is_not_called_when_the_receive_gives_up_before():
    called = []
    sender, channel = open_channel(1, on_stall=(1000, lambda: called.append(True)))
    with pytest.raises(queue.Empty):
        channel.get(timeout=0.001)
    sender.put("item")
    assert channel.get() == "item"
    assert called == []


def test_a_channel_has_neither_truth_nor_length():
    """`if chunks:` and `len(chunks)` are mistakes that would silently mean something else."""
    _sender, channel = open_channel(1)
    with pytest.raises(TypeError, match="no truth value"):
        bool(channel)
    with pytest.raises(TypeError, match="len"):
        len(channel)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["content", "choices", "reasoning", "tool_calls", "text"])
def test_a_channel_taken_for_a_response_says_what_to_do(name):
    """Whoever forgot to unpack reads it in the error."""
    _sender, channel = open_channel(1)
    with pytest.raises(AttributeError, match="unpack first: chunks, errors"):
        getattr(channel, name)


@pytest.mark.parametrize("name", ["put", "put_nowait", "close"])
def test_the_receive_end_cannot_send(name):
    _sender, channel = open_channel(1)
    with pytest.raises(AttributeError, match="receive end"):
        getattr(channel, name)
    assert not hasattr(channel, "nonsense")


# Ctrl-C.


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be sent SIGINT alone")
@pytest.mark.parametrize("receive", ["channel.get()", "next(iter(channel))", "select(channel, Context(1000).done())"])
def test_ctrl_c_interrupts_a_blocked_receive_and_the_channel_stays_usable(script, receive):
    """A receive without a time-out must not hold the terminal hostage, nor leave a ghost in line."""
    process: subprocess.Popen[str] = script(
        f"""
        import signal, threading
        from anyllm.channel import open_channel, select
        from anyllm.context import Context
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        sender, channel = open_channel(1)
        # gevent gives up on a process in which nothing else can ever happen: something may.
        threading.Thread(target=threading.Event().wait, args=(1000,), daemon=True).start()
        print("ready", flush=True)
        try:
            {receive}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        assert not channel._pipe.receivers
        got = []
        thread = threading.Thread(target=lambda: got.append(channel.get(timeout=30)), daemon=True)
        thread.start()
        while not channel._pipe.receivers and not got:
            thread.join(0.001)
        sender.put("item")
        thread.join(30)
        print(got)
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    until(lambda: _is_asleep(process.pid))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=90)
    assert "interrupted\n['item']\n" in output, output
    assert process.returncode == 0


def _is_asleep(pid):
    """Whether a process waits; where the system does not say, it surely does soon."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "S"
    except FileNotFoundError:
        return True


def test_on_stall_is_called_until_it_returns_true_and_then_no_more(spawn):
    """The first time there may be nothing yet to complain of."""
    calls, is_over = [], threading.Event()

    def complain():
        calls.append(len(calls))
        if len(calls) == 3:
            is_over.set()
        return len(calls) >= 3

    sender, channel = open_channel(1, on_stall=(0.001, complain))
    task = spawn(channel.get)
    assert is_over.wait(TIMEOUT)
    sender.put("item")
    assert task.join() == "item"
    assert calls == [0, 1, 2]
