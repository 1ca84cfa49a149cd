// SPDX-License-Identifier: Apache-2.0
//
// Bytes: echo over sockets, relays over pipes, poll/select/epoll mixes, descriptors closed under those who wait for them.
// No byte may be lost, doubled or changed.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "chaos.h"

namespace chaos {
namespace {

constexpr size_t most = 20000;
std::atomic<int> server_port{0};

unsigned char byte_at(uint64_t seed, uint64_t offset) {
  uint64_t mixed = (seed + offset / 8) * 0x9E3779B97F4A7C15u;
  return static_cast<unsigned char>(mixed >> (offset % 8 * 8));
}

// Waits until the descriptor is ready, one way or another. Signals may end it early.
void wait_ready(Random& random, int fd, bool to_read) {
  switch (random.below(3)) {
    case 0: {
      pollfd one{fd, static_cast<short>(to_read ? POLLIN : POLLOUT), 0};
      int result = poll(&one, 1, random.one_in(2) ? -1 : 1000);
      MUST(result >= 0 || errno == EINTR || errno == ENOMEM);
      break;
    }
    case 1: {
      if (fd >= FD_SETSIZE) break;
      fd_set set;
      FD_ZERO(&set);
      FD_SET(fd, &set);
      timeval time{1, 0};
      int result = select(fd + 1, to_read ? &set : nullptr, to_read ? nullptr : &set, nullptr, &time);
      MUST(result >= 0 || errno == EINTR || errno == ENOMEM);
      break;
    }
    case 2: {
      int epoll = epoll_create1(EPOLL_CLOEXEC);
      if (epoll < 0) {
        MUST(is_shortage(errno));
        break;
      }
      epoll_event event{};
      event.events = to_read ? EPOLLIN : EPOLLOUT;
      if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) {
        int result = epoll_wait(epoll, &event, 1, 1000);
        MUST(result >= 0 || errno == EINTR);
      }
      MUST_BE(0, close(epoll));
      break;
    }
  }
}

// One read of some kind: bytes, 0 at the end, or -1 with an errno that means "again".
ssize_t read_somehow(Random& random, int fd, unsigned char* buffer, size_t size, bool is_socket) {
  switch (random.below(is_socket ? 6 : 3)) {
    case 0: return read(fd, buffer, size);
    case 1: {
      iovec parts[2] = {{buffer, size / 3}, {buffer + size / 3, size - size / 3}};
      return readv(fd, parts, 2);
    }
    case 2:
      wait_ready(random, fd, true);
      return read(fd, buffer, size);
    case 3: return recv(fd, buffer, size, 0);
    case 4: {
      iovec part{buffer, size};
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      return recvmsg(fd, &message, 0);
    }
    default: {
      ssize_t n = recv(fd, buffer, size, MSG_DONTWAIT);
      if (n < 0 && errno == EAGAIN) {
        wait_ready(random, fd, true);
        errno = EAGAIN;
      }
      return n;
    }
  }
}

ssize_t write_somehow(Random& random, int fd, const unsigned char* buffer, size_t size, bool is_socket) {
  switch (random.below(is_socket ? 5 : 3)) {
    case 0: return write(fd, buffer, size);
    case 1: {
      auto* bytes = const_cast<unsigned char*>(buffer);
      iovec parts[2] = {{bytes, size / 3}, {bytes + size / 3, size - size / 3}};
      return writev(fd, parts, 2);
    }
    case 2:
      wait_ready(random, fd, false);
      return write(fd, buffer, size);
    case 3: return send(fd, buffer, size, MSG_NOSIGNAL);
    default: {
      ssize_t n = send(fd, buffer, size, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno == EAGAIN) {
        wait_ready(random, fd, false);
        errno = EAGAIN;
      }
      return n;
    }
  }
}

bool means_again(int error) { return error == EINTR || error == EAGAIN || error == ENOMEM || error == ENOBUFS; }

// Reads exactly `size`, less only at the end of the stream.
size_t read_all(Random& random, int fd, unsigned char* buffer, size_t size, bool is_socket) {
  size_t done = 0;
  while (done < size) {
    ssize_t n = read_somehow(random, fd, buffer + done, size - done, is_socket);
    if (n == 0) break;
    if (n < 0) {
      if (errno == ECONNRESET) break;
      MUST(means_again(errno));
      continue;
    }
    done += static_cast<size_t>(n);
  }
  return done;
}

bool write_all(Random& random, int fd, const unsigned char* buffer, size_t size, bool is_socket) {
  for (size_t done = 0; done < size;) {
    ssize_t n = write_somehow(random, fd, buffer + done, size - done, is_socket);
    if (n < 0) {
      if (errno == EPIPE || errno == ECONNRESET) return false;
      MUST(means_again(errno));
      continue;
    }
    done += static_cast<size_t>(n);
  }
  return true;
}

std::atomic<int> connections{0};

void* serve_one(void* argument) {
  {
    Target target;
    int fd = static_cast<int>(reinterpret_cast<intptr_t>(argument));
    Random random = random_of(1000 + fd);
    unsigned char buffer[4096];
    for (;;) {
      ssize_t n = read_somehow(random, fd, buffer, 1 + random.below(sizeof buffer), true);
      if (n == 0) break;
      if (n < 0 && means_again(errno)) continue;
      if (n < 0) {
        MUST(errno == ECONNRESET);
        break;
      }
      if (!write_all(random, fd, buffer, static_cast<size_t>(n), true)) break;
    }
    MUST_BE(0, close(fd));
  }
  connections--;
  return nullptr;
}

}  // namespace

void echo_server(Actor& self) {
  int server = static_cast<int>(insist([] { return socket(AF_INET, SOCK_STREAM, 0); }));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  MUST_BE(0, bind(server, reinterpret_cast<sockaddr*>(&address), length));
  MUST_BE(0, listen(server, 64));
  MUST_BE(0, getsockname(server, reinterpret_cast<sockaddr*>(&address), &length));
  server_port = ntohs(address.sin_port);
  timeval patience{0, 200000};
  MUST_BE(0, setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience));
  while (!stopping || connections > 0) {
    self.steps++;
    int fd = self.random.one_in(2) ? accept(server, nullptr, nullptr) : accept4(server, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) {
      MUST(means_again(errno) || is_shortage(errno) || errno == ECONNABORTED);
      if (errno != EINTR && errno != EAGAIN) nap_us(300);
      continue;
    }
    connections++;
    pthread_t thread;
    start_thread(&thread, serve_one, reinterpret_cast<void*>(static_cast<intptr_t>(fd)), 256 << 10, true);
  }
  MUST_BE(0, close(server));
}

void echo_client(Actor& self) {
  Target target;
  static thread_local unsigned char sent[most], back[most];
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  while (!stopping && !server_port) nap_us(1000);
  address.sin_port = htons(static_cast<uint16_t>(server_port));
  while (!stopping) {
    int fd = static_cast<int>(insist([] { return socket(AF_INET, SOCK_STREAM, 0); }));
    int connected = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
    // Interrupted, it goes on connecting (connect(2)).
    while (connected < 0 && (errno == EINTR || errno == EALREADY || errno == EINPROGRESS)) {
      wait_ready(self.random, fd, false);
      connected = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
      if (connected < 0 && errno == EISCONN) connected = 0;
    }
    if (connected < 0) {
      MUST(is_shortage(errno) || errno == ECONNRESET || errno == ECONNREFUSED || errno == EADDRNOTAVAIL || errno == ETIMEDOUT);
      MUST_BE(0, close(fd));
      nap_us(1000);
      continue;
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (int rounds = 1 + self.random.below(20); rounds > 0; rounds--) {
      self.steps++;
      size_t size = 1 + static_cast<size_t>(self.random.below(self.random.one_in(4) ? most : 500));
      uint64_t seed = self.random.next();
      for (size_t i = 0; i < size; i++) sent[i] = byte_at(seed, i);
      MUST(write_all(self.random, fd, sent, size, true));
      MUST_BE(size, read_all(self.random, fd, back, size, true));
      MUST_BE(0, memcmp(sent, back, size));
      if (self.random.one_in(5)) nap_us(self.random.below(3000));
    }
    if (self.random.one_in(2)) {
      MUST_BE(0, shutdown(fd, SHUT_WR));
      MUST_BE(0, read_all(self.random, fd, back, 1, true));
    } else if (self.random.one_in(4)) {
      linger reset{1, 0};
      setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    MUST_BE(0, close(fd));
    // The kernel keeps closed connections for a minute: not so many that it runs out of ports.
    nap_us(2000 + self.random.below(8000));
  }
}

namespace {

struct Relay {
  int from[2], to[2];
  uint64_t bytes;
  Random random;
};

void* relay_bytes(void* argument) {
  Target target;
  auto& relay = *static_cast<Relay*>(argument);
  unsigned char buffer[3000];
  for (;;) {
    ssize_t n = read_somehow(relay.random, relay.from[0], buffer, 1 + relay.random.below(sizeof buffer), false);
    if (n == 0) break;
    if (n < 0) {
      MUST(means_again(errno));
      continue;
    }
    MUST(write_all(relay.random, relay.to[1], buffer, static_cast<size_t>(n), false));
  }
  MUST_BE(0, close(relay.to[1]));
  return nullptr;
}

void* feed_bytes(void* argument) {
  Target target;
  auto& relay = *static_cast<Relay*>(argument);
  Random random = random_of(static_cast<int>(relay.bytes));
  unsigned char buffer[5000];
  for (uint64_t done = 0; done < relay.bytes;) {
    uint64_t size = 1 + static_cast<uint64_t>(random.below(sizeof buffer));
    if (size > relay.bytes - done) size = relay.bytes - done;
    for (uint64_t i = 0; i < size; i++) buffer[i] = byte_at(relay.bytes, done + i);
    MUST(write_all(random, relay.from[1], buffer, size, false));
    done += size;
  }
  MUST_BE(0, close(relay.from[1]));
  return nullptr;
}

}  // namespace

// feeder -> pipe -> relay -> pipe -> here; and each byte is looked at.
void pipe_relay(Actor& self) {
  Target target;
  while (!stopping) {
    Relay relay{};
    relay.bytes = 1000 + static_cast<uint64_t>(self.random.below(400000));
    relay.random = self.random;
    insist([&] { return pipe2(relay.from, O_CLOEXEC); });
    insist([&] { return pipe2(relay.to, O_CLOEXEC); });
    pthread_t feeder, middle;
    start_thread(&feeder, feed_bytes, &relay);
    start_thread(&middle, relay_bytes, &relay);
    unsigned char buffer[3000];
    uint64_t got = 0;
    for (;;) {
      ssize_t n = read_somehow(self.random, relay.to[0], buffer, sizeof buffer, false);
      if (n == 0) break;
      if (n < 0) {
        MUST(means_again(errno));
        continue;
      }
      for (ssize_t i = 0; i < n; i++) MUST_BE(byte_at(relay.bytes, got + static_cast<uint64_t>(i)), buffer[i]);
      got += static_cast<uint64_t>(n);
      self.steps++;
    }
    MUST_BE(relay.bytes, got);
    MUST_BE(0, pthread_join(feeder, nullptr));
    MUST_BE(0, pthread_join(middle, nullptr));
    MUST_BE(0, close(relay.to[0]));
    MUST_BE(0, close(relay.from[0]));
  }
}

// Tokens over many socket pairs, waited for all at once in changing ways.
void ready_mix(Actor& self) {
  Target target;
  sigset_t open = open_only_in_waits();
  constexpr int pairs = 12;
  int ends[pairs][2];
  for (auto& pair : ends) insist([&] { return socketpair(AF_UNIX, SOCK_STREAM, 0, pair); });
  int epoll = static_cast<int>(insist([] { return epoll_create1(0); }));
  for (int i = 0; i < pairs; i++) {
    epoll_event event{};
    event.events = i % 2 ? EPOLLIN : EPOLLIN | EPOLLET;
    event.data.u32 = static_cast<uint32_t>(i);
    insist([&] { return epoll_ctl(epoll, EPOLL_CTL_ADD, ends[i][0], &event); });
  }
  struct Sender {
    int (*ends)[2];
    Random random;
    std::atomic<bool> done;
    static void* run(void* argument) {
      Target target;
      auto& self = *static_cast<Sender*>(argument);
      while (!self.done) {
        char token = 't';
        int which = self.random.below(pairs);
        ssize_t n = send(self.ends[which][1], &token, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        MUST(n == 1 || means_again(errno));
        nap_us(self.random.below(300));
      }
      return nullptr;
    }
  } sender{ends, self.random, {false}};
  pthread_t thread;
  start_thread(&thread, Sender::run, &sender);
  while (!stopping) {
    self.steps++;
    int ready = 0;
    switch (self.random.below(3)) {
      case 0: {
        pollfd fds[pairs];
        for (int i = 0; i < pairs; i++) fds[i] = {ends[i][0], POLLIN, 0};
        ready = poll(fds, pairs, self.random.below(50));
        for (int i = 0; ready > 0 && i < pairs; i++)
          if (fds[i].revents) MUST_BE(POLLIN, fds[i].revents);
        break;
      }
      case 1: {
        fd_set set;
        FD_ZERO(&set);
        int limit = 0;
        for (auto& pair : ends) {
          if (pair[0] >= FD_SETSIZE) continue;
          FD_SET(pair[0], &set);
          if (pair[0] >= limit) limit = pair[0] + 1;
        }
        timespec time{0, self.random.below(50000000)};
        ready = pselect(limit, &set, nullptr, nullptr, &time, self.random.one_in(2) ? &open : nullptr);
        break;
      }
      case 2: {
        epoll_event events[4];
        ready = epoll_wait(epoll, events, 4, self.random.below(50));
        break;
      }
    }
    MUST(ready >= 0 || errno == EINTR || errno == ENOMEM);
    if (ready <= 0) continue;
    for (auto& pair : ends) {
      char bytes[64];
      ssize_t n = recv(pair[0], bytes, sizeof bytes, MSG_DONTWAIT);
      MUST(n > 0 || means_again(errno));
      for (ssize_t i = 0; i < n; i++) MUST_BE('t', bytes[i]);
    }
  }
  sender.done = true;
  MUST_BE(0, pthread_join(thread, nullptr));
  for (auto& pair : ends)
    for (int fd : pair) MUST_BE(0, close(fd));
  MUST_BE(0, close(epoll));
}

namespace {

struct Blocked {
  int fd;
  int how;
};

// Blocks on a descriptor that somebody closes. Whatever it is told, it must come back.
void* block_on(void* argument) {
  Target target;
  Blocked blocked = *static_cast<Blocked*>(argument);
  char bytes[16];
  errno = 0;
  switch (blocked.how) {
    case 0: (void)!read(blocked.fd, bytes, sizeof bytes); break;
    case 1: (void)!recv(blocked.fd, bytes, sizeof bytes, 0); break;
    case 2: {
      pollfd one{blocked.fd, POLLIN, 0};
      poll(&one, 1, 30);
      break;
    }
    default: {
      if (blocked.fd >= FD_SETSIZE) break;
      fd_set set;
      FD_ZERO(&set);
      FD_SET(blocked.fd, &set);
      timeval time{0, 30000};
      select(blocked.fd + 1, &set, nullptr, nullptr, &time);
      break;
    }
  }
  return nullptr;
}

}  // namespace

// The number must not become another actor's while somebody still uses it: it is high, where nobody else allocates, or
// it is given another meaning in one step (dup2).
void close_in_use(Actor& self) {
  Target target;
  constexpr int high = 700;
  while (!stopping) {
    self.steps++;
    int pair[2], spare[2];
    insist([&] { return socketpair(AF_UNIX, SOCK_STREAM, 0, pair); });
    int fd = fcntl(pair[0], F_DUPFD, high + self.random.below(100));
    MUST_BE(0, close(pair[0]));
    if (fd < 0) {
      MUST(is_shortage(errno) || errno == EINVAL);  // EINVAL: above the present limit
      MUST_BE(0, close(pair[1]));
      nap_us(1000);
      continue;
    }
    Blocked blocked{fd, self.random.below(4)};
    pthread_t threads[3];
    for (pthread_t& thread : threads) start_thread(&thread, block_on, &blocked);
    nap_us(self.random.below(2000));
    bool replaces = self.random.one_in(2) && socketpair(AF_UNIX, SOCK_STREAM, 0, spare) == 0;
    if (replaces) {
      MUST_BE(0, close(spare[1]));  // whoever comes late finds the end of it
      int result;
      do result = dup2(spare[0], fd);
      while (result < 0 && (errno == EINTR || errno == EBUSY || errno == EBADF) && !stopping && (nap_us(500), true));
      MUST_BE(0, close(spare[0]));
      if (result < 0) replaces = false, close(fd);
    } else {
      MUST_BE(0, close(fd));
    }
    // Alone, those who wait still hold the old connection: its other end lets them go.
    MUST_BE(0, shutdown(pair[1], SHUT_RDWR));
    for (pthread_t thread : threads) MUST_BE(0, pthread_join(thread, nullptr));
    MUST_BE(0, close(pair[1]));
    if (replaces) MUST_BE(0, close(fd));
  }
}

}  // namespace chaos
