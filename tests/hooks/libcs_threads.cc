// SPDX-License-Identifier: Apache-2.0
//
// Waits for what threads of libc's own do (aio_suspend, lio_listio, gai_suspend): others run meanwhile, and they end when it is done,
// not later.
#include <aio.h>
#include <netdb.h>

#include "thread_testing.h"

struct Reading {
  Pipe pipe;
  char bytes[4] = {};
  aiocb block{};
  Reading() {
    block.aio_fildes = pipe.a;
    block.aio_buf = bytes;
    block.aio_nbytes = sizeof bytes;
    block.aio_lio_opcode = LIO_READ;
    block.aio_sigevent.sigev_notify = SIGEV_NONE;
  }
  Pthread written_later() {
    return Pthread([this] {
      nap(30);
      EXPECT_EQ(2, write(pipe.b, "ok", 2));
    });
  }
};

static void suspended() {
  Reading reading;
  const aiocb* const list[] = {nullptr, &reading.block};
  timespec const short_time{0, 20000000}, none{0, 0};
  EXPECT_OK(0, aio_read(&reading.block));
  while_others_tick([&] { EXPECT_ERRNO(EAGAIN, aio_suspend(list, 2, &short_time)); });
  EXPECT_ERRNO(EAGAIN, aio_suspend(list, 2, &none));
  Stopwatch watch;
  while_others_tick([&] {
    Pthread const writer = reading.written_later();
    EXPECT_EQ(0, aio_suspend(list, 2, nullptr));
  });
  EXPECT(watch.took_between(29, 400));  // a wake that got lost would be found after half a second
  EXPECT_EQ(2, aio_return(&reading.block));
  EXPECT_EQ(0, aio_suspend(list, 2, nullptr));
}

static void suspended_by_the_other_name() {
  Reading reading;
  auto* block = reinterpret_cast<aiocb64*>(&reading.block);
  const aiocb64* const list[] = {block};
  EXPECT_OK(0, aio_read64(block));
  Pthread const writer = reading.written_later();
  EXPECT_EQ(0, aio_suspend64(list, 1, nullptr));
  EXPECT_EQ(2, aio_return64(block));
}

static void in_a_list() {
  Reading reading;
  aiocb* const list[] = {&reading.block};
  while_others_tick([&] {
    Pthread const writer = reading.written_later();
    EXPECT_EQ(0, lio_listio(LIO_WAIT, list, 1, nullptr));
  });
  EXPECT_EQ(2, aio_return(&reading.block));
  auto* block = reinterpret_cast<aiocb64*>(&reading.block);
  aiocb64* const list64[] = {block};
  while_others_tick([&] {
    Pthread const writer = reading.written_later();
    EXPECT_EQ(0, lio_listio64(LIO_WAIT, list64, 1, nullptr));
  });
  EXPECT_EQ(2, aio_return64(block));
}

static void interrupted() {
  Reading reading;
  count_signal(SIGUSR1, 0);
  const aiocb* const list[] = {&reading.block};
  EXPECT_OK(0, aio_read(&reading.block));
  pthread_t const self = pthread_self();
  {
    Pthread const kicker([self] {
      nap(20);
      pthread_kill(self, SIGUSR1);
    });
    EXPECT_ERRNO(EINTR, aio_suspend(list, 1, nullptr));
  }
  Pthread const writer = reading.written_later();
  EXPECT_EQ(0, aio_suspend(list, 1, nullptr));
  EXPECT_EQ(2, aio_return(&reading.block));
}

static void cancelled() {
  Reading reading;
  EXPECT_OK(0, aio_read(&reading.block));
  Pthread waiter([&] {
    const aiocb* const list[] = {&reading.block};
    aio_suspend(list, 1, nullptr);
    EXPECT(false);
  });
  nap(20);
  pthread_cancel(waiter.id());
  EXPECT(waiter.join() == PTHREAD_CANCELED);
  Pthread const writer = reading.written_later();
  const aiocb* const list[] = {&reading.block};
  EXPECT_EQ(0, aio_suspend(list, 1, nullptr));
}

static void names() {
  gaicb question{};
  question.ar_name = "127.0.0.1";
  gaicb* questions[] = {&question};
  const gaicb* const waited[] = {&question};
  EXPECT_EQ(0, getaddrinfo_a(GAI_NOWAIT, questions, 1, nullptr));
  int const result = gai_suspend(waited, 1, nullptr);
  EXPECT(result == 0 || result == EAI_ALLDONE);
  EXPECT_EQ(EAI_ALLDONE, gai_suspend(waited, 1, nullptr));
  EXPECT_EQ(0, gai_error(&question));
  freeaddrinfo(question.ar_result);
}

int main() {
  from_both([] {
    suspended();
    suspended_by_the_other_name();
    in_a_list();
    interrupted();
    cancelled();
    names();
  });
  return finish();
}
