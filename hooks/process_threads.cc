// SPDX-License-Identifier: Apache-2.0
//
// Calls in which libc itself makes kernel threads or processes (clean_helper.h). They do not wait, but for
// lio_listio(LIO_WAIT) and wordexp, which wait for a child. And those that wait for such threads.
#include <aio.h>
#include <netdb.h>

#include "hooks/clean_helper.h"

namespace coro {
namespace {

// libc asks the kernel for the priority of the calling thread by its tid, which is no fiber's, and goes on without.
template <Call call, class Queue>
int queue_request(Queue queue) {
  return run_clean<call>([&] {
    int saved = errno, result = queue();
    if (result == 0) errno = saved;
    return result;
  });
}

}  // namespace

// aio_read(3), aio_write(3), aio_fsync(3): as libc, whose threads do the work.
HOOK(int, aio_read, (aiocb * block)) {
  return queue_request<Call::aio_read>([&] { return real.aio_read(block); });
}
HOOK_ALIAS(aio_read64, aio_read);

HOOK(int, aio_write, (aiocb * block)) {
  return queue_request<Call::aio_write>([&] { return real.aio_write(block); });
}
HOOK_ALIAS(aio_write64, aio_write);

HOOK(int, aio_fsync, (int operation, aiocb* block)) {
  return queue_request<Call::aio_fsync>([&] { return real.aio_fsync(operation, block); });
}
HOOK_ALIAS(aio_fsync64, aio_fsync);

namespace {

// libc's threads end the wait with a system call of their own, past our queues: so it is made in the kernel, on a helper.
template <Call call, class Wait>
int wait_for_libcs_threads(Wait wait) {
  if (!gate<call>()) return wait();
  Away away(to_reason(call));
  return wait();
}

}  // namespace

// lio_listio(3): as aio_read, for a list.
HOOK(int, lio_listio, (int mode, aiocb* const* list, int count, sigevent* event)) {
  auto run = [&] { return real.lio_listio(mode, list, count, event); };
  if (mode == LIO_WAIT && !is_filtered_here()) return wait_for_libcs_threads<Call::lio_listio>(run);
  return queue_request<Call::lio_listio>(run);
}
HOOK_ALIAS(lio_listio64, lio_listio);

// aio_suspend(3): until one of the list is done.
HOOK(int, aio_suspend, (const aiocb* const* list, int count, const timespec* time)) {
  return wait_for_libcs_threads<Call::aio_suspend>([&] { return real.aio_suspend(list, count, time); });
}
HOOK_ALIAS(aio_suspend64, aio_suspend);

// getaddrinfo_a(3): as libc; returns the error.
HOOK(int, getaddrinfo_a, (int mode, gaicb** list, int count, sigevent* event)) {
  auto run = [&] { return real.getaddrinfo_a(mode, list, count, event); };
  if (mode == GAI_WAIT && !is_filtered_here()) return wait_for_libcs_threads<Call::getaddrinfo_a>(run);
  return run_clean<Call::getaddrinfo_a>(run, [] { return EAI_AGAIN; });
}

// gai_suspend(3): until one of the list is known; returns the error.
HOOK(int, gai_suspend, (const gaicb* const* list, int count, const timespec* time)) {
  return wait_for_libcs_threads<Call::gai_suspend>([&] { return real.gai_suspend(list, count, time); });
}

// mq_notify(3): as libc, which makes a thread for SIGEV_THREAD.
HOOK(int, mq_notify, (mqd_t queue, const sigevent* event)) {
  if (!event || event->sigev_notify != SIGEV_THREAD) return real.mq_notify(queue, event);
  return run_clean<Call::mq_notify>([&] { return real.mq_notify(queue, event); });
}

// wordexp(3): as libc, which runs a shell for command substitutions.
HOOK(int, wordexp, (const char* words, wordexp_t* result, int flags)) {
  return run_clean<Call::wordexp>([&] { return real.wordexp(words, result, flags); }, [] { return int{WRDE_NOSPACE}; });
}

}  // namespace coro
