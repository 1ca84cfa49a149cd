// SPDX-License-Identifier: Apache-2.0
//
// stdio: it reads and writes inside libc, where no symbol hook sees it. A thread in fgets, getline,
// fread or fscanf on a pipe or a socket, and one in fwrite or fprintf on a full one, must not keep
// the others from running; lines of many threads on one stream stay whole; errno and EOF are as
// always.

#include "testing.h"

struct Streams : Ends {
  FILE *in, *out;
  explicit Streams(bool socket) {
    int fds[2];
    NEED(socket ? socketpair(AF_UNIX, SOCK_STREAM, 0, fds) : pipe(fds));
    in = fdopen(fds[0], "r");
    out = fdopen(fds[1], "w");
  }
  ~Streams() {
    fclose(in);
    fclose(out);
  }
};

static void a_reader_waits(bool socket) {
  Streams s(socket);
  char line[32];
  Stopwatch watch;
  Thread writer = after(20, [&] {
    fputs("one\ntwo 2\n", s.out);
    EXPECT_EQ(0, fflush(s.out));
  });
  EXPECT(fgets(line, sizeof line, s.in) == line);
  EXPECT_WAITED(watch);
  EXPECT(!strcmp("one\n", line));
  int number = 0;
  EXPECT_EQ(2, fscanf(s.in, "%31s %d", line, &number));
  EXPECT_EQ(2, number);
  writer.join();
}

static void getline_and_fread_wait(bool socket) {
  Streams s(socket);
  char *line = nullptr, bytes[6];
  size_t size = 0;
  Stopwatch watch;
  Thread writer([&] {
    for (const char* part : {"par", "tial\n", "abc", "def"}) {
      pause_ms(10);
      fputs(part, s.out);
      fflush(s.out);
    }
  });
  EXPECT_EQ(8, getline(&line, &size, s.in));
  EXPECT(!strcmp("partial\n", line));
  EXPECT_EQ(6, fread(bytes, 1, 6, s.in));
  EXPECT(watch.took_between(30, 4000));
  EXPECT(watch.others_ran());
  EXPECT(!memcmp(bytes, "abcdef", 6));
  free(line);
}

static void a_writer_waits(bool socket) {
  Streams s(socket);
  const long size = 2000000;
  char* bytes = (char*)calloc(1, size);
  Stopwatch watch;
  Thread reader = after(20, [&] { EXPECT_EQ(size, drain(fileno(s.in), size)); });
  EXPECT_EQ(size, fwrite(bytes, 1, size, s.out));
  EXPECT_EQ(0, fflush(s.out));
  EXPECT_WAITED(watch);
  reader.join();
  free(bytes);
}

static void lines_stay_whole() {
  Streams s(false);
  const int writers = 8, lines = 50;
  Thread reading([&] {
    char line[128];
    int count[writers] = {};
    for (int i = 0; i < writers * lines && fgets(line, sizeof line, s.in); i++) {
      int who = -1, number = -1;
      EXPECT_EQ(2, sscanf(line, "writer %d line %d end", &who, &number));
      EXPECT(who >= 0 && who < writers && number == count[who]++);
    }
  });
  in_threads(writers, [&](int i) {
    for (int n = 0; n < lines; n++) {
      EXPECT(fprintf(s.out, "writer %d line %d end\n", i, n) > 0);
      if (n % 5 == 0) fflush(s.out);
    }
  });
  fflush(s.out);
}

static void two_threads_at_one_stream() {
  Streams s(false);
  std::atomic<int> lines{0};
  Thread writer([&] {
    for (int i = 0; i < 2; i++) {
      pause_ms(20);
      fputs("line\n", s.out);
      fflush(s.out);
    }
  });
  in_threads(2, [&](int) {  // one waits in read, the other for the stream's lock
    char line[16];
    if (fgets(line, sizeof line, s.in)) lines++;
  });
  EXPECT_EQ(2, lines);
}

static void ends_and_errors() {
  Streams s(true);
  char line[8];
  Thread stopper = after(20, [&] { EXPECT_OK(0, shutdown(fileno(s.out), SHUT_WR)); });
  EXPECT(fgets(line, sizeof line, s.in) == nullptr);
  EXPECT(feof(s.in) && !ferror(s.in));
  Streams other(false);
  set_nonblocking(fileno(other.in), true);
  EXPECT_EQ(EOF, fgetc(other.in));
  EXPECT_EQ(EAGAIN, errno);
  EXPECT(ferror(other.in));
}

int main() {
  from_both([] {
    for (bool socket : {false, true}) {
      a_reader_waits(socket);
      getline_and_fread_wait(socket);
      a_writer_waits(socket);
    }
    lines_stay_whole();
    two_threads_at_one_stream();
    ends_and_errors();
  });
  return finish();
}
