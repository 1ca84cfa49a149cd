"""python3-zmq: REQ/REP over tcp with five client threads and a ROUTER/DEALER pool of worker threads over inproc; then
PUB/SUB and a poller with a time-out. libzmq has I/O threads of its own.

Prints:
    client 0: 20 replies
    client 1: 20 replies
    client 2: 20 replies
    client 3: 20 replies
    client 4: 20 replies
    large message of 3000000 bytes came back
    subscriber heard 10 20 30
    poller timed out: []
"""

import threading

import zmq

context = zmq.Context()
front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
port = front.bind_to_random_port("tcp://127.0.0.1")
back.bind("inproc://workers")
replies = {}


def broker():
    try:
        zmq.proxy(front, back)
    except zmq.ContextTerminated:
        front.close(0)
        back.close(0)


def worker():
    socket = context.socket(zmq.REP)
    socket.connect("inproc://workers")
    try:
        while True:
            socket.send(b"re: " + socket.recv())
    except zmq.ContextTerminated:
        socket.close(0)


def client(number):
    with context.socket(zmq.REQ) as socket:
        socket.connect(f"tcp://127.0.0.1:{port}")
        for request in range(20):
            text = f"client {number} asks {request}".encode()
            socket.send(text)
            replies[number] = replies.get(number, 0) + (socket.recv() == b"re: " + text)


def start(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    return thread


servers = [start(broker), *(start(worker) for _ in range(3))]
for thread in [start(client, number) for number in range(5)]:
    thread.join()
for number in sorted(replies):
    print(f"client {number}: {replies[number]} replies")

with context.socket(zmq.REQ) as socket:
    socket.connect(f"tcp://127.0.0.1:{port}")
    socket.send(b"x" * 3_000_000)
    print("large message of", len(socket.recv()) - len(b"re: "), "bytes came back")

with context.socket(zmq.XPUB) as publisher, context.socket(zmq.SUB) as subscriber:
    subscriber.connect(f"tcp://127.0.0.1:{publisher.bind_to_random_port('tcp://127.0.0.1')}")
    subscriber.subscribe(b"")
    assert publisher.recv() == b"\x01"  # somebody has subscribed
    for number in (b"10", b"20", b"30"):
        publisher.send(number)
    print("subscriber heard", *(subscriber.recv().decode() for _ in range(3)))
    poller = zmq.Poller()
    poller.register(subscriber, zmq.POLLIN)
    print("poller timed out:", poller.poll(100))
context.term()  # ends the broker's and the workers' waits
for thread in servers:
    thread.join()
