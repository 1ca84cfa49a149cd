// SPDX-License-Identifier: Apache-2.0
//
// What blocks inside libc, where no symbol hook sees it: stdio on pipes and sockets, a stream's lock that is held by a
// thread in a blocked write, the resolver, dprintf. Meanwhile a ticker of 10 ms never stands still for long.
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <sys/wait.h>
#include <wchar.h>

#include <string>
#include <vector>

#include "pulse_testing.h"

static FILE* stream(int& fd, const char* mode) {
  FILE* file = fdopen(std::exchange(fd, -1), mode);
  EXPECT(file);
  return file;
}

// One blocked in fputs holds the stream's lock; ten others print; every line comes out whole.
static void a_held_lock() {
  Pipe pipe;
  FILE* out = stream(pipe.b, "w");
  std::string const longest(200000, 'l');
  Pthread first([&] { EXPECT(fputs((longest + "\n").c_str(), out) >= 0); });
  nap(20);
  std::vector<Pthread> others;
  for (int i = 0; i < 10; ++i) others.emplace_back([&, i] { EXPECT(fprintf(out, "line %d\n", i) > 0); });
  nap(300);
  size_t lines = 0, letters = 0;
  Pthread reader([&] {
    FILE* in = stream(pipe.a, "r");
    char* line = nullptr;
    size_t room = 0;
    for (ssize_t got; (got = getline(&line, &room, in)) > 0; ++lines) {
      if (*line == 'l' && line[1] == 'l') letters = static_cast<size_t>(got) - 1;
      else EXPECT_EQ(7, got);
    }
    free(line);
    fclose(in);
  });
  first.join();
  others.clear();
  fclose(out);
  reader.join();
  EXPECT_EQ(11, static_cast<long>(lines));
  EXPECT_EQ(static_cast<long>(longest.size()), static_cast<long>(letters));
}

static void lines_of_sockets() {
  Pair pair;
  Pthread writer([&] {
    int copy = dup(pair.b);
    FILE* out = stream(copy, "w");
    for (const char* text : {"one\n", "two\n", "three four five\n", "wide\n"}) {
      nap(60);
      EXPECT(fputs(text, out) >= 0 && fflush(out) == 0);
    }
    fclose(out);
    shutdown(pair.b, SHUT_WR);
  });
  FILE* in = stream(pair.a, "r");
  char text[32];
  EXPECT(fgets(text, sizeof text, in) && !strcmp(text, "one\n"));
  char* line = nullptr;
  size_t room = 0;
  EXPECT_EQ(4, getline(&line, &room, in));
  free(line);
  EXPECT_EQ(16, static_cast<long>(fread(text, 1, 16, in)));
  wchar_t wide[32];
  EXPECT(!fgetws(wide, 32, in) || wcslen(wide) == 5);
  writer.join();
  fclose(in);
}

static void formatted_to_a_full_pipe() {
  Pipe pipe;
  long const filled = fill_up(pipe.b);
  Pthread reader([&] {
    nap(60);
    drain(pipe.a, filled);
  });
  EXPECT_EQ(4, dprintf(pipe.b, "%d", 1234));
  reader.join();
}

// A DNS server that answers every question with 127.0.0.9, after a while.
static void answer(int server) {
  unsigned char packet[512];
  sockaddr_in from{};
  socklen_t length = sizeof from;
  long const size = recvfrom(server, packet, sizeof packet, 0, reinterpret_cast<sockaddr*>(&from), &length);
  if (size < 12) return;
  nap(1000);
  long end = 12;
  while (end < size && packet[end]) end += packet[end] + 1;
  bool const wants_address = packet[end + 2] == 1;  // A, not AAAA
  end += 5;
  packet[2] = 0x81, packet[3] = 0x80;
  packet[6] = 0, packet[7] = wants_address;
  packet[8] = packet[9] = packet[10] = packet[11] = 0;
  static const unsigned char record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 9};
  if (wants_address) memcpy(packet + end, record, sizeof record);
  sendto(server, packet, static_cast<size_t>(end) + (wants_address ? sizeof record : 0), 0,
         reinterpret_cast<sockaddr*>(&from), length);
}

static void use_server(int server) {
  EXPECT_EQ(0, res_init());
  sockaddr_in const address = address_of(server);
  _res.nscount = 1;
  _res.nsaddr_list[0] = address;
  _res.retrans = 5;
  _res.retry = 1;
}

static void names() {
  int const server = bound_socket(SOCK_DGRAM);
  Pthread dns([&] {
    answer(server);
    answer(server);
  });
  use_server(server);
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  Stopwatch watch;
  EXPECT_EQ(0, getaddrinfo("host.coro.example.", "80", &hints, &found));
  EXPECT(found && reinterpret_cast<sockaddr_in*>(found->ai_addr)->sin_addr.s_addr == htonl(0x7f000009));
  if (found) freeaddrinfo(found);
  unsigned char reply[512];
  EXPECT(res_query("other.coro.example.", C_IN, T_A, reply, sizeof reply) > 12);  // has no hook at all
  EXPECT(watch.took_between(1900, 20000));
  dns.join();
  close(server);
}

// A thread that waits in fgets can be cancelled, and the stream's lock is free afterwards.
static void cancelled_in_fgets() {
  Pipe pipe;
  FILE* in = stream(pipe.a, "r");
  Pthread reader([&] {
    char text[8];
    fgets(text, sizeof text, in);
    EXPECT(false);
  });
  nap(50);
  EXPECT_EQ(0, pthread_cancel(reader.id()));
  EXPECT(reader.join() == PTHREAD_CANCELED);
  EXPECT_EQ(0, fclose(in));
}

// fork waits for a thread in fflush(NULL), which waits for its pipe. The child's streams are nobody else's.
static void fork_beside_a_flush() {
  Pipe pipe;
  long const filled = fill_up(pipe.b);
  FILE* out = stream(pipe.b, "w");
  EXPECT(fputs("late\n", out) >= 0);
  Pthread flushing([] { EXPECT_EQ(0, fflush(nullptr)); });
  nap(50);
  Pthread reader([&] {
    nap(200);
    drain(pipe.a, filled);
  });
  Stopwatch watch;
  pid_t const child = fork();
  if (child == 0) {
    pid_t const grandchild = fork();
    if (grandchild == 0) _exit(fflush(nullptr) == 0 && dprintf(2, "%s", "") == 0 ? 7 : 8);
    int status = 0;
    bool const fine = waitpid(grandchild, &status, 0) == grandchild && exited(status, 7);
    _exit(fine && fflush(nullptr) == 0 ? 7 : 8);
  }
  EXPECT(watch.took_between(100, 20000));
  int status = 0;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT(exited(status, 7));
  flushing.join();
  reader.join();
  fclose(out);
}

int main() {
  Pulse pulse;
  fork_beside_a_flush();
  a_held_lock();
  lines_of_sockets();
  formatted_to_a_full_pipe();
  cancelled_in_fgets();
  Pthread second([] {
    where = "second";
    a_held_lock();
    names();
  });
  names();
  second.join();
  return finish();
}
