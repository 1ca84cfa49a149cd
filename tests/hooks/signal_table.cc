// SPDX-License-Identifier: Apache-2.0
//
// The table of signal(7), "Interruption of system calls and library functions by signal handlers",
// call by call, in main and in another thread: descriptors, sockets, files and children. More
// calls: signal_table_waits.cc. Where the page and the kernel disagree the kernel is right; that is
// said at the call. Facets of single calls: socket_eintr, socket_restart, descriptor_eintr,
// wait_eintr, sleep_eintr. No ioctl waits without a device that does.
#include <poll.h>
#include <pty.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <termios.h>

#include "signal_testing.h"

static char byte;
static iovec one_byte{&byte, 1};

static char page[8192];
static void put(int fd) { EXPECT_EQ(1, write(fd, "x", 1)); }

static void pipes() {
  Pipe const in;
  restarts(
      "read of a pipe", 1, [&] { return read(in.a, &byte, 1); }, [&] { put(in.b); });
  restarts(
      "readv of a pipe", 1, [&] { return readv(in.a, &one_byte, 1); }, [&] { put(in.b); });
  Pipe const out;
  fill_up(out.b);
  auto make_room = [&] { drain(out.a, 4096); };
  restarts(
      "write to a pipe", 1, [&] { return write(out.b, "x", 1); }, make_room);
  fill_up(out.b);
  restarts(
      "writev to a pipe", 1, [&] { return writev(out.b, &one_byte, 1); }, make_room);
  fill_up(out.b);
  iovec const two[2] = {{page, 4096}, {page, 4096}};
  tells_part("writev to a pipe, in part", 4096, [&] {
    fill_up(out.b);
    drain(out.a, 4096);
    errno = 77;
    return writev(out.b, two, 2);
  });
}

static void between_pipes() {
  Pipe const from;
  Pipe const to;
  restarts(
      "splice", 1, [&] { return splice(from.a, nullptr, to.b, nullptr, 1, 0); },
      [&] { put(from.b); });
  restarts(
      "tee", 1, [&] { return tee(from.a, to.b, 1, 0); }, [&] { put(from.b); });
}

static void inside_libc() {
  Pipe const pipe;
  FILE* const stream = fdopen(dup(pipe.a), "r");
  restarts(
      "getc", 'x',
      [&] {
        int const c = getc(stream);
        clearerr(stream);
        return c;
      },
      [&] { put(pipe.b); });
  fclose(stream);
}

static void terminals() {
  int master = -1;
  int slave = -1;
  EXPECT_EQ(0, openpty(&master, &slave, nullptr, nullptr, nullptr));
  termios raw{};
  EXPECT_EQ(0, tcgetattr(slave, &raw));
  cfmakeraw(&raw);
  EXPECT_EQ(0, tcsetattr(slave, TCSANOW, &raw));
  restarts(
      "read of a terminal", 1, [&] { return read(slave, &byte, 1); }, [&] { put(master); });
  restarts(
      "read of a terminal's master", 1, [&] { return read(master, &byte, 1); },
      [&] { put(slave); });
  for (int quiet = 0; quiet < 4; quiet = fill_up(slave) ? 0 : quiet + 1) nap(10);  // the kernel moves bytes on and has room again
  restarts(
      "write to a terminal", 1, [&] { return write(slave, "x", 1); },
      [&] {
        set_nonblocking(master, true);
        while (read(master, page, sizeof page) > 0) {
        }
      });
  close(slave);
  close(master);
}

static void sockets() {
  Pair const in;
  msghdr message{};
  message.msg_iov = &one_byte;
  message.msg_iovlen = 1;
  mmsghdr several[2]{};
  several[0].msg_hdr = several[1].msg_hdr = message;
  auto give = [&] { put(in.b); };
  restarts(
      "read of a socket", 1, [&] { return read(in.a, &byte, 1); }, give);
  restarts(
      "recv", 1, [&] { return recv(in.a, &byte, 1, 0); }, give);
  restarts(
      "recvfrom", 1, [&] { return recvfrom(in.a, &byte, 1, 0, nullptr, nullptr); }, give);
  restarts(
      "recvmsg", 1, [&] { return recvmsg(in.a, &message, 0); }, give);
  restarts(
      "recvmmsg", 1, [&] { return recvmmsg(in.a, several, 1, 0, nullptr); }, give);
  Pair const out(SOCK_SEQPACKET);
  auto full = [&] {
    for (set_nonblocking(out.a, true); send(out.a, "x", 1, 0) == 1;) {
    }
    set_nonblocking(out.a, false);
  };
  auto take = [&] {
    while (recv(out.b, &byte, 1, MSG_DONTWAIT) == 1) {
    }
  };
  full();
  restarts(
      "write to a socket", 1, [&] { return write(out.a, "x", 1); }, take);
  full();
  restarts(
      "send", 1, [&] { return send(out.a, "x", 1, 0); }, take);
  full();
  restarts(
      "sendto", 1, [&] { return sendto(out.a, "x", 1, 0, nullptr, 0); }, take);
  full();
  restarts(
      "sendmsg", 1, [&] { return sendmsg(out.a, &message, 0); }, take);
  full();
  restarts(
      "sendmmsg", 1, [&] { return sendmmsg(out.a, several, 1, 0); }, take);
  tells_part("sendmmsg, in part", 1, [&] {
    full();
    EXPECT_EQ(1, recv(out.b, &byte, 1, 0));  // room for one
    errno = 77;
    return sendmmsg(out.a, several, 2, 0);
  });
  Pair const stream;
  iovec whole_page{page, 4096};
  mmsghdr pages[2]{};
  pages[0].msg_hdr.msg_iov = pages[1].msg_hdr.msg_iov = &whole_page;
  pages[0].msg_hdr.msg_iovlen = pages[1].msg_hdr.msg_iovlen = 1;
  tells_part("sendmmsg of a stream, in part", 1, [&] {
    fill_up(stream.a);
    drain(stream.b, 4096);  // room for one
    errno = 77;
    return sendmmsg(stream.a, pages, 2, 0);
  });
  // A new socket each time: Linux leaves its inner ERESTARTSYS on it as an error for the next call.
  tells_part("recvmmsg, in part", 1, [&] {
    Pair const pair;
    put(pair.b);
    return recvmmsg(pair.a, several, 2, 0, nullptr);
  });
  Tcp const tcp;
  static char four[4];
  tells_part("recv with MSG_WAITALL, in part", 1, [&] {
    put(tcp.b);
    return recv(tcp.a, four, 4, MSG_WAITALL);
  });
}

// A unix listener with a connection that waits: the next one blocks in connect.
struct Backlog {
  sockaddr_un address{};
  int server = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  int first = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  int second = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  Backlog() {
    static std::atomic<int> count{0};
    address.sun_family = AF_UNIX;
    snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "signal_table.%d.%d", getpid(),
             count++);
    NEED(bind(server, peer(), sizeof address));
    NEED(listen(server, 0));
    NEED(connect(first, peer(), sizeof address));
  }
  const sockaddr* peer() const { return reinterpret_cast<const sockaddr*>(&address); }
  ~Backlog() {
    close(server);
    close(first);
    close(second);
  }
};

static void connections() {
  int const server = listener();
  int const clients[2] = {NEED(socket(AF_INET, SOCK_STREAM, 0)),
                          NEED(socket(AF_INET, SOCK_STREAM, 0))};
  sockaddr_in const address = address_of(server);
  int next = 0;
  auto come = [&] {
    EXPECT_EQ(
        0, connect(clients[next++], reinterpret_cast<const sockaddr*>(&address), sizeof address));
  };
  auto accepted = [](int fd) -> long { return fd < 0 ? -1 : close(fd); };
  restarts(
      "accept", 0, [&] { return accepted(accept(server, nullptr, nullptr)); }, come);
  restarts(
      "accept4", 0, [&] { return accepted(accept4(server, nullptr, nullptr, SOCK_CLOEXEC)); },
      come);
  set_timeout(server, SO_RCVTIMEO, 4000);
  never_restarts("accept with SO_RCVTIMEO", [&] { return accept(server, nullptr, nullptr); });
  close(server);
  close(clients[0]);
  close(clients[1]);

  Backlog const backlog;
  auto try_connect = [&] {
    return connect(backlog.second, backlog.peer(), sizeof backlog.address);
  };
  restarts("connect", 0, try_connect, [&] { close(accept(backlog.server, nullptr, nullptr)); });
  Backlog const timed;
  set_timeout(timed.second, SO_SNDTIMEO, 4000);
  never_restarts("connect with SO_SNDTIMEO",
                 [&] { return connect(timed.second, timed.peer(), sizeof timed.address); });
}

static void sockets_with_a_timeout() {
  Pair const in;
  set_timeout(in.a, SO_RCVTIMEO, 4000);
  msghdr message{};
  message.msg_iov = &one_byte;
  message.msg_iovlen = 1;
  mmsghdr several{};
  several.msg_hdr = message;
  never_restarts("read with SO_RCVTIMEO", [&] { return read(in.a, &byte, 1); });
  never_restarts("recv with SO_RCVTIMEO", [&] { return recv(in.a, &byte, 1, 0); });
  never_restarts("recvfrom with SO_RCVTIMEO",
                 [&] { return recvfrom(in.a, &byte, 1, 0, nullptr, nullptr); });
  never_restarts("recvmsg with SO_RCVTIMEO", [&] { return recvmsg(in.a, &message, 0); });
  never_restarts("recvmmsg with SO_RCVTIMEO",
                 [&] { return recvmmsg(in.a, &several, 1, 0, nullptr); });
  Pair const out;
  set_timeout(out.a, SO_SNDTIMEO, 4000);
  fill_up(out.a);
  never_restarts("write with SO_SNDTIMEO", [&] { return write(out.a, "x", 1); });
  never_restarts("send with SO_SNDTIMEO", [&] { return send(out.a, "x", 1, 0); });
  never_restarts("sendto with SO_SNDTIMEO", [&] { return sendto(out.a, "x", 1, 0, nullptr, 0); });
  never_restarts("sendmsg with SO_SNDTIMEO", [&] { return sendmsg(out.a, &message, 0); });
  never_restarts("sendmmsg with SO_SNDTIMEO", [&] { return sendmmsg(out.a, &several, 1, 0); });
  // The page says that a time-out of recvmmsg's own takes the restart away; the kernel restarts it.
  Pair const pair;
  timespec time{4, 0};
  restarts(
      "recvmmsg with a time-out", 1, [&] { return recvmmsg(pair.a, &several, 1, 0, &time); },
      [&] { put(pair.b); });
}

static void events() {
  uint64_t value = 0;
  int const event = eventfd(0, 0);
  auto add = [&](uint64_t n) { EXPECT_EQ(8, write(event, &n, 8)); };
  restarts(
      "read of an eventfd", 8, [&] { return read(event, &value, 8); }, [&] { add(1); });
  add(0xfffffffffffffffe);
  uint64_t const one = 1;
  uint64_t unused = 0;
  restarts(
      "write to an eventfd", 8, [&] { return write(event, &one, 8); },
      [&] { EXPECT_EQ(8, read(event, &unused, 8)); });
  close(event);
  int const timer = NEED(timerfd_create(CLOCK_MONOTONIC, 0));
  itimerspec const soon{{}, {0, 1000000}};
  restarts(
      "read of a timerfd", 8, [&] { return read(timer, &value, 8); },
      [&] { EXPECT_EQ(0, timerfd_settime(timer, 0, &soon, nullptr)); });
  close(timer);
  sigset_t usr2;
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  int const signals = NEED(signalfd(-1, &usr2, 0));
  signalfd_siginfo info;
  pthread_t const me = pthread_self();
  restarts(
      "read of a signalfd", sizeof info, [&] { return read(signals, &info, sizeof info); },
      [&] { pthread_kill(me, SIGUSR2); });
  close(signals);
}

static char folder[] = "/tmp/signal_table.XXXXXX";
static const char* in_folder(const char* name) {
  static thread_local char path[100];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void files() {
  EXPECT_EQ(0, mkfifo(in_folder("fifo"), 0600));
  int end = -1;
  restarts(
      "open of a FIFO", 0,
      [&]() -> long {
        int const fd = open(in_folder("fifo"), O_RDONLY);
        return fd < 0 ? -1 : close(fd);
      },
      [&] { end = open(in_folder("fifo"), O_RDWR | O_NONBLOCK); });
  close(end);
  unlink(in_folder("fifo"));

  int const notes = NEED(inotify_init1(0));
  NEED(inotify_add_watch(notes, folder, IN_CREATE));
  static char buffer[4096];
  restarts(
      "read of an inotify descriptor", true,
      [&] {
        ssize_t const n = read(notes, buffer, sizeof buffer);
        return n < 0 ? -1 : n > 0;
      },
      [&] { close(open(in_folder("new"), O_CREAT | O_RDWR, 0600)); });
  close(notes);
  unlink(in_folder("new"));
}

static void file_locks() {
  int const held = NEED(open(in_folder("lock"), O_CREAT | O_RDWR, 0600));
  int const wanted = NEED(open(in_folder("lock"), O_RDWR));
  EXPECT_EQ(0, flock(held, LOCK_EX));
  restarts(
      "flock", 0, [&] { return flock(wanted, LOCK_EX); },
      [&] { EXPECT_EQ(0, flock(held, LOCK_UN)); });
  struct flock whole {};
  whole.l_type = F_WRLCK;
  EXPECT_EQ(0, fcntl(held, F_OFD_SETLK, &whole));
  struct flock asked = whole;
  struct flock let_go = whole;
  let_go.l_type = F_UNLCK;
  restarts(
      "F_OFD_SETLKW", 0, [&] { return fcntl(wanted, F_OFD_SETLKW, &asked); },
      [&] { EXPECT_EQ(0, fcntl(held, F_OFD_SETLK, &let_go)); });
  EXPECT_EQ(0, fcntl(wanted, F_OFD_SETLK, &let_go));
  close(wanted);
  Pipe const said;  // a process's own locks are in nobody's way but another process's
  Pipe const told;
  pid_t const child = fork();
  if (child == 0) {
    struct flock lock = whole;
    lock.l_pid = 0;
    char c = fcntl(held, F_SETLK, &lock) == 0 ? 'y' : 'n';
    (void)!write(said.b, &c, 1);
    (void)!read(told.a, &c, 1);
    _exit(0);
  }
  EXPECT_EQ(1, read(said.a, &byte, 1));
  EXPECT_EQ('y', byte);
  restarts(
      "F_SETLKW", 0, [&] { return fcntl(held, F_SETLKW, &asked); }, [&] { put(told.b); });
  EXPECT_EQ(child, waitpid(child, nullptr, 0));
  close(held);
}

static void children() {
  pid_t child = 0;
  auto bear = [&] {
    child = fork();
    if (child) return;
    signal(SIGUSR1, SIG_IGN);
    for (;;) sleep(10);
  };
  auto kill_it = [&] { kill(child, SIGKILL); };
  siginfo_t info;
  rusage usage;
  bear();
  restarts(
      "waitpid", true, [&] { return waitpid(child, nullptr, 0) < 0 ? -1 : 1; }, kill_it);
  bear();
  restarts(
      "wait", true, [&] { return wait(nullptr) < 0 ? -1 : 1; }, kill_it);
  bear();
  restarts(
      "wait3", true, [&] { return wait3(nullptr, 0, &usage) < 0 ? -1 : 1; }, kill_it);
  bear();
  restarts(
      "wait4", true, [&] { return wait4(child, nullptr, 0, &usage) < 0 ? -1 : 1; }, kill_it);
  bear();
  restarts(
      "waitid", 0, [&] { return waitid(P_PID, static_cast<id_t>(child), &info, WEXITED); },
      kill_it);
  bear();
  restarts(
      "waitid for any", 0, [&] { return waitid(P_ALL, 0, &info, WEXITED); }, kill_it);
}

void waits();  // signal_table_waits.cc

int main() {
  NEED(mkdtemp(folder) ? 0 : -1);
  sigset_t usr2;  // for the signalfd and sigwait: blocked in every thread
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &usr2, nullptr);
  from_both([] {
    pipes();
    between_pipes();
    inside_libc();
    terminals();
    sockets();
    connections();
    sockets_with_a_timeout();
    events();
    files();
    file_locks();
    children();
    waits();
  });
  unlink(in_folder("lock"));
  rmdir(folder);
  return finish();
}
