// SPDX-License-Identifier: Apache-2.0
//
// Calls in which libc itself makes kernel threads or processes (clean_helper.h). They do not wait, but for
// lio_listio(LIO_WAIT) and wordexp, which wait for a child.
#include <aio.h>
#include <netdb.h>

#include "hooks/clean_helper.h"

namespace coro {
// aio_read(3), aio_write(3), aio_fsync(3): as libc, whose threads do the work.
HOOK(int, aio_read, (aiocb * block)) {
  return run_clean<Call::aio_read>([&] { return real.aio_read(block); });
}
HOOK_ALIAS(aio_read64, aio_read);

HOOK(int, aio_write, (aiocb * block)) {
  return run_clean<Call::aio_write>([&] { return real.aio_write(block); });
}
HOOK_ALIAS(aio_write64, aio_write);

HOOK(int, aio_fsync, (int operation, aiocb* block)) {
  return run_clean<Call::aio_fsync>([&] { return real.aio_fsync(operation, block); });
}
HOOK_ALIAS(aio_fsync64, aio_fsync);

// lio_listio(3): as aio_read, for a list.
HOOK(int, lio_listio, (int mode, aiocb* const* list, int count, sigevent* event)) {
  return run_clean<Call::lio_listio>([&] { return real.lio_listio(mode, list, count, event); });
}

// getaddrinfo_a(3): as libc; returns the error.
HOOK(int, getaddrinfo_a, (int mode, gaicb** list, int count, sigevent* event)) {
  return run_clean<Call::getaddrinfo_a>([&] { return real.getaddrinfo_a(mode, list, count, event); }, [] { return EAI_AGAIN; });
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
