"""Actors: each a thread with an inbox, ping and pong answer one another, a third counts what it overhears.

Prints:
    ping
    pong
    ping
    pong
    ping
    pong
    the listener counted 6
    a ring of 20 actors passed the token 200 times
"""

import queue
import threading


class Actor(threading.Thread):
    def __init__(self, name):
        super().__init__(name=name)
        self.inbox = queue.Queue()

    def run(self):
        while (message := self.inbox.get()) is not None:
            self.receive(message)

    def stop(self):
        self.inbox.put(None)
        self.join()


class Player(Actor):
    def receive(self, left):
        print(self.name)
        listener.inbox.put(self.name)
        if left > 1:
            self.other.inbox.put(left - 1)
        else:
            over.set()


class Listener(Actor):
    count = 0

    def receive(self, word):
        self.count += 1


class Link(Actor):
    def receive(self, passed):
        if passed == 200:
            over.set()
        else:
            self.next.inbox.put(passed + 1)


over = threading.Event()
listener, ping, pong = Listener("listener"), Player("ping"), Player("pong")
ping.other, pong.other = pong, ping
for actor in (listener, ping, pong):
    actor.start()
ping.inbox.put(6)
over.wait()
for actor in (ping, pong, listener):
    actor.stop()
print("the listener counted", listener.count)

over.clear()
ring = [Link(f"link {number}") for number in range(20)]
for link, following in zip(ring, ring[1:] + ring[:1]):
    link.next = following
    link.start()
ring[0].inbox.put(0)
over.wait()
for link in ring:
    link.stop()
print(f"a ring of {len(ring)} actors passed the token 200 times")
