// SPDX-License-Identifier: Apache-2.0
//
// Names. libc's resolver does it all (nsswitch, hosts file, DNS): on a helper kernel thread, where it may block as it
// likes, with the fiber's own h_errno and resolver state. In place runs only what looks nothing up.
//  - gethostbyname and gethostbyaddr hold a lock of libc's while they ask: even a numeric name may wait there, so they
//    always go to a helper;
//  - none of these is a cancellation point of POSIX: what libc does inside decides, as natively.
#include <arpa/inet.h>

#include "hooks/hook.h"
#include "scheduler/offload.h"

namespace coro {
namespace {

template <Call call, class Ask>
auto ask_away(Ask ask) {
  if (!gate<call>()) return ask();
  Away away(to_reason(call));
  return ask();
}

bool is_number(const char* text) {
  if (!*text) return false;
  while (*text >= '0' && *text <= '9') text++;
  return !*text;
}

// getaddrinfo() that only converts: a numeric node, or none, and a numeric service, or none.
bool looks_nothing_up(const char* node, const char* service, const addrinfo* hints) {
  int flags = hints ? hints->ai_flags : 0;
  if (flags & (AI_IDN | AI_CANONIDN)) return false;
  if (service && !(flags & AI_NUMERICSERV) && !is_number(service)) return false;
  in6_addr room;
  return !node || flags & AI_NUMERICHOST || inet_pton(AF_INET, node, &room) == 1 ||
         inet_pton(AF_INET6, node, &room) == 1;
}

}  // namespace

// getaddrinfo(3): asks on a helper; other fibers run meanwhile.
HOOK(int, getaddrinfo, (const char* node, const char* service, const addrinfo* hints,
                        addrinfo** result)) {
  if (looks_nothing_up(node, service, hints)) return real.getaddrinfo(node, service, hints, result);
  return ask_away<Call::getaddrinfo>([&] { return real.getaddrinfo(node, service, hints, result); });
}

// getnameinfo(3): as getaddrinfo.
HOOK(int, getnameinfo, (const sockaddr* address, socklen_t length, char* host, socklen_t host_length,
                        char* service, socklen_t service_length, int flags)) {
  auto ask = [&] {
    return real.getnameinfo(address, length, host, host_length, service, service_length, flags);
  };
  bool host_is_numeric = flags & NI_NUMERICHOST || !host || !host_length;
  bool service_is_numeric = flags & NI_NUMERICSERV || !service || !service_length;
  if (host_is_numeric && service_is_numeric) return ask();
  return ask_away<Call::getnameinfo>(ask);
}

// gethostbyname(3) and its relatives: as getaddrinfo. The answer lies in libc's static buffer, as natively.
HOOK(hostent*, gethostbyname, (const char* name)) {
  return ask_away<Call::gethostbyname>([&] { return real.gethostbyname(name); });
}

HOOK(hostent*, gethostbyname2, (const char* name, int family)) {
  return ask_away<Call::gethostbyname2>([&] { return real.gethostbyname2(name, family); });
}

HOOK(hostent*, gethostbyaddr, (const void* address, socklen_t length, int family)) {
  return ask_away<Call::gethostbyaddr>([&] { return real.gethostbyaddr(address, length, family); });
}

// gethostbyname_r(3) and its relatives: as getaddrinfo, into the caller's buffer.
HOOK(int, gethostbyname_r, (const char* name, hostent* entry, char* buffer, size_t size,
                            hostent** result, int* error)) {
  return ask_away<Call::gethostbyname_r>(
      [&] { return real.gethostbyname_r(name, entry, buffer, size, result, error); });
}

HOOK(int, gethostbyname2_r, (const char* name, int family, hostent* entry, char* buffer, size_t size,
                             hostent** result, int* error)) {
  return ask_away<Call::gethostbyname2_r>(
      [&] { return real.gethostbyname2_r(name, family, entry, buffer, size, result, error); });
}

HOOK(int, gethostbyaddr_r, (const void* address, socklen_t length, int family, hostent* entry,
                            char* buffer, size_t size, hostent** result, int* error)) {
  return ask_away<Call::gethostbyaddr_r>([&] {
    return real.gethostbyaddr_r(address, length, family, entry, buffer, size, result, error);
  });
}

}  // namespace coro
