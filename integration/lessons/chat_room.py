"""A chat room: a thread per guest reads, a thread per guest writes from that guest's queue, the room is shared.

Prints:
    anna joins: anna joined
    bert joins: bert joined
    cleo joins: cleo joined
    anna heard: bert joined | cleo joined | anna: hello all | bert: hi anna | cleo left
    bert heard: cleo joined | anna: hello all | bert: hi anna | cleo left
    cleo heard: anna: hello all | bert: hi anna
    the room is empty: True
"""

import queue
import socketserver
import threading

from lesson import Peer

lock, room = threading.Lock(), {}


def broadcast(line):
    with lock:
        for inbox in room.values():
            inbox.put(line)


class Guest(socketserver.StreamRequestHandler):
    def handle(self):
        name = self.rfile.readline().decode().strip()
        self.inbox = queue.Queue()
        with lock:
            room[name] = self.inbox
        writer = threading.Thread(target=self.write)
        writer.start()
        broadcast(f"{name} joined")
        for line in self.rfile:
            broadcast(f"{name}: {line.decode().strip()}")
        with lock:
            del room[name]
        broadcast(f"{name} left")
        self.inbox.put(None)
        writer.join()

    def write(self):
        while (line := self.inbox.get()) is not None:
            self.wfile.write(f"{line}\n".encode())


def join(name):
    peer = Peer(server.server_address[1], greeting=name)
    print(f"{name} joins: {peer.hear()}")
    return peer


def heard(peer, count):
    return " | ".join(peer.hear() for _ in range(count))


with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Guest) as server:
    threading.Thread(target=server.serve_forever).start()
    anna, bert, cleo = join("anna"), join("bert"), join("cleo")
    anna.say("hello all")
    cleo_heard = [cleo.hear()]
    bert.say("hi anna")
    cleo_heard.append(cleo.hear())
    cleo.leave()
    print("anna heard:", heard(anna, 5))
    print("bert heard:", heard(bert, 4))
    print("cleo heard:", " | ".join(cleo_heard))
    anna.leave()
    bert.leave()
    server.shutdown()
print("the room is empty:", not room)
