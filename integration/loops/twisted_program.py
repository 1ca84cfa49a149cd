"""A Twisted program: an echo server and ten clients on one reactor, deferToThread, callLater, a child process.

Prints:
    ten clients heard themselves
    threads gave back 0 1 4 9 16
    delayed call on time
    child said: hello from a child
    reactor stopped
"""

import time

from twisted.internet import defer, endpoints, protocol, reactor, threads, utils


class Echo(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.write(data)


class Client(protocol.Protocol):
    def __init__(self, text):
        self.text, self.heard, self.done = text, b"", defer.Deferred()

    def connectionMade(self):
        self.transport.write(self.text)

    def dataReceived(self, data):
        self.heard += data
        if len(self.heard) == len(self.text):
            self.transport.loseConnection()
            self.done.callback(self.heard == self.text)


def square(number):
    time.sleep(0.05)
    return number * number


@defer.inlineCallbacks
def main():
    port = yield endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(
        protocol.Factory.forProtocol(Echo))
    clients = [Client(b"%d" % number * 100_000) for number in range(10)]
    for client in clients:
        yield endpoints.connectProtocol(
            endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), client)
    heard = yield defer.gatherResults([client.done for client in clients])
    print("ten clients heard themselves" if all(heard) else heard)
    squares = yield defer.gatherResults([threads.deferToThread(square, number) for number in range(5)])
    print("threads gave back", *squares)
    begin, later = time.monotonic(), defer.Deferred()
    reactor.callLater(0.2, later.callback, None)
    yield later
    print("delayed call", "on time" if 0.19 < time.monotonic() - begin < 1 else "late")
    said = yield utils.getProcessOutput("/bin/echo", ["hello from a child"])
    print("child said:", said.decode().strip())
    yield port.stopListening()
    reactor.stop()


def failed(failure):
    failure.printTraceback()
    reactor.stop()


reactor.callWhenRunning(lambda: main().addErrback(failed))
reactor.run()
print("reactor stopped")
