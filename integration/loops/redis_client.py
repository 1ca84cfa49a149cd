"""Fifty threads with python3-redis: counters, pipelines, a blocking queue, publish and subscribe, and a background save.

Argument: the port of the redis-server.

Prints:
    counted to 5000
    50 pipelines of 20
    blocking pops: 25 jobs done by 25 workers
    500 messages heard by 5 subscribers
    large values came back whole: 50
    saved in the background: True
"""

import sys
import threading
import time

import redis

THREADS = 50
store = redis.Redis(port=int(sys.argv[1]), socket_timeout=20)


def in_threads(count, function):
    """Runs function(0), function(1) ... each in a thread, all of them alive at once."""
    results, all_here = [None] * count, threading.Barrier(count)

    def run(number):
        all_here.wait(20)
        results[number] = function(number)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def count(number):
    for _ in range(100):
        store.incr("counter")


def pipeline(number):
    batch = store.pipeline()
    for key in range(20):
        batch.set(f"{number}:{key}", key)
    return sum(batch.execute())


def job(number):
    """Half of the threads wait for work, the other half bring it."""
    if number % 2:
        return store.blpop("jobs", timeout=15) is not None
    time.sleep(0.05)
    store.rpush("jobs", number)


def subscribe(number):
    """Hears a hundred messages of the last thread."""
    if number == 5:
        while store.pubsub_numsub("news")[0][1] < 5:
            time.sleep(0.01)
        for message in range(100):
            store.publish("news", message)
        return 0
    heard = store.pubsub(ignore_subscribe_messages=True)
    heard.subscribe("news")
    got = []
    while len(got) < 100:
        message = heard.get_message(timeout=5)
        if message:
            got.append(int(message["data"]))
    heard.close()
    return len(got) if got == list(range(100)) else -1000


def large(number):
    value = bytes([number]) * 500_000
    store.set(f"large {number}", value)
    return store.get(f"large {number}") == value


def saved():
    last = store.info("persistence")["rdb_changes_since_last_save"]
    store.bgsave()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state = store.info("persistence")
        if not state["rdb_bgsave_in_progress"]:
            return last > 0 and state["rdb_last_bgsave_status"] == "ok" and state["rdb_changes_since_last_save"] == 0
        time.sleep(0.02)


in_threads(THREADS, count)
print("counted to", store.get("counter").decode())
assert in_threads(THREADS, pipeline) == [20] * THREADS
print(f"{THREADS} pipelines of 20")
print("blocking pops:", in_threads(THREADS, job).count(True), "jobs done by", THREADS // 2, "workers")
print(sum(in_threads(6, subscribe)), "messages heard by 5 subscribers")
print("large values came back whole:", sum(in_threads(THREADS, large)))
print("saved in the background:", saved())
