// SPDX-License-Identifier: Apache-2.0
// Echo in C++20, one thread per connection, made in one of three ways: std::thread (counted out by a condition
// variable), std::jthread (ended by its stop token), std::async (its future holds the bytes). The end of a stream
// is an exception thrown a few frames deeper, so unwinding crosses frames that waited. SIGTERM ends it with 0.
#include <atomic>
#include <condition_variable>
#include <future>
#include <list>
#include <mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "serve.h"

namespace {

struct EndOfStream : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::atomic<bool> stopping{false};
thread_local std::string scratch;  // each connection's own, destroyed with its thread

class Connection {
 public:
  explicit Connection(int fd) : fd_(fd) {}
  Connection(Connection&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Connection() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }

  // Echoes until the peer is done; returns how many bytes went round.
  std::size_t echo() {
    std::size_t echoed = 0;
    try {
      for (;;) echoed += echo_some();
    } catch (const EndOfStream&) {
      return echoed;
    }
  }

 private:
  std::size_t echo_some() {
    read_some();
    if (!write_all(fd_, scratch.data(), scratch.size())) throw EndOfStream("write");
    return scratch.size();
  }

  void read_some() {
    scratch.resize(16384);
    ssize_t got = read(fd_, scratch.data(), scratch.size());
    if (got <= 0) throw EndOfStream("read");
    scratch.resize(static_cast<std::size_t>(got));
  }

  int fd_;
};

// Accepts until SIGTERM.
template <class Serve>
void accept_each(int listener, Serve serve) {
  while (!stopping) {
    int fd = accept(listener, nullptr, nullptr);
    if (fd >= 0)
      serve(Connection(fd));
    else if (errno != EINTR)
      throw std::system_error(errno, std::generic_category(), "accept");
  }
}

struct Total {
  std::size_t connections = 0;
  std::size_t bytes = 0;
};

// Detached threads, and main waits until the last open one has said good-bye.
Total with_threads(int listener) {
  std::mutex mutex;
  std::condition_variable changed;
  std::list<int> open;
  Total total;
  accept_each(listener, [&](Connection connection) {
    std::unique_lock lock(mutex);
    auto place = open.insert(open.end(), connection.fd());
    std::thread([&, place, connection = std::move(connection)]() mutable {
      std::size_t bytes = connection.echo();
      std::lock_guard lock(mutex);
      open.erase(place);
      ++total.connections;
      total.bytes += bytes;
      changed.notify_all();
    }).detach();
  });
  std::unique_lock lock(mutex);
  for (int fd : open) shutdown(fd, SHUT_RDWR);
  changed.wait(lock, [&] { return open.empty(); });
  return total;
}

// Joining threads: the destructor asks each to stop, the stop callback ends its read.
Total with_jthreads(int listener) {
  std::atomic<std::size_t> connections{0}, bytes{0};
  {
    std::list<std::jthread> threads;
    accept_each(listener, [&](Connection connection) {
      threads.emplace_back([&, connection = std::move(connection)](std::stop_token token) mutable {
        std::stop_callback hang_up(token, [&] { shutdown(connection.fd(), SHUT_RDWR); });
        bytes += connection.echo();
        ++connections;
      });
    });
  }
  return {connections, bytes};
}

// Futures: main keeps a copy of each descriptor to hang up, then collects the results.
Total with_async(int listener) {
  std::vector<std::future<std::size_t>> results;
  std::vector<Connection> copies;
  Total total;
  accept_each(listener, [&](Connection connection) {
    copies.emplace_back(dup(connection.fd()));
    results.push_back(std::async(std::launch::async, [connection = std::move(connection)]() mutable {
      std::size_t bytes = connection.echo();
      shutdown(connection.fd(), SHUT_RDWR);
      return bytes;
    }));
  });
  for (Connection& copy : copies) shutdown(copy.fd(), SHUT_RDWR);
  for (auto& result : results) {
    total.bytes += result.get();
    ++total.connections;
  }
  return total;
}

Total serve(std::string_view way, int listener) {
  if (way == "thread") return with_threads(listener);
  if (way == "jthread") return with_jthreads(listener);
  if (way == "async") return with_async(listener);
  throw std::invalid_argument("usage: echo_cc thread|jthread|async");
}

}  // namespace

int main(int argc, char** argv) try {
  signal(SIGPIPE, SIG_IGN);
  on_signal(SIGTERM, [](int) { stopping = true; }, 0);
  Total total = serve(argc > 1 ? argv[1] : "", listen_somewhere());
  printf("served %zu connections, %zu bytes\n", total.connections, total.bytes);
  return 0;
} catch (const std::exception& error) {
  fprintf(stderr, "%s\n", error.what());
  return 1;
}
