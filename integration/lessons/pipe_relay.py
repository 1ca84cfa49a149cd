"""multiprocessing: a parent and a child process pass a number to and fro through Pipes, a thread at each end relaying.

Prints:
    relayed 0 1 2 3 4 5 6 7 8 9
    the child counted 10
    a queue of squares: 0 1 4 9 16
    a Value raised to 40 by 4 processes
    exit codes 0 0 0 0
"""

import multiprocessing
import threading


def relay(here, there, count):
    for _ in range(count):
        there.send(here.recv() + 1)


def child(inbox, outbox, counted):
    thread = threading.Thread(target=relay, args=(inbox, outbox, 10))
    thread.start()
    thread.join()
    counted.send(10)


def send_and_hear(there, here, seen):
    number = 0
    while len(seen) < 10:
        seen.append(number)
        there.send(number)
        number = here.recv()


def squares(queue):
    for number in range(5):
        queue.put(number * number)


def raise_it(value):
    for _ in range(10):
        with value.get_lock():
            value.value += 1


def main():
    context = multiprocessing.get_context("fork")
    (to_child, in_child), (from_child, out_child) = context.Pipe(), context.Pipe()
    counted, count = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(in_child, out_child, count))
    process.start()
    seen = []
    thread = threading.Thread(target=send_and_hear, args=(to_child, from_child, seen))
    thread.start()
    thread.join()
    print("relayed", *seen)
    print("the child counted", counted.recv())
    process.join()

    queue = context.Queue()
    process = context.Process(target=squares, args=(queue,))
    process.start()
    print("a queue of squares:", *(queue.get(timeout=10) for _ in range(5)))
    process.join()

    value = context.Value("i", 0)
    processes = [context.Process(target=raise_it, args=(value,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(f"a Value raised to {value.value} by {len(processes)} processes")
    print("exit codes", *(process.exitcode for process in processes))


main()
