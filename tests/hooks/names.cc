// SPDX-License-Identifier: Apache-2.0
//
// Names: getaddrinfo and getnameinfo of numbers and of localhost, gethostbyname and its kin
// (answers per thread for the _r ones), services, errors by their own codes, and many threads that
// resolve at once while others run. Nothing here needs a name server.

#include <netdb.h>

#include "testing.h"

static in_addr_t address_in(const addrinfo* info) {
  return ((const sockaddr_in*)info->ai_addr)->sin_addr.s_addr;
}

static void numbers() {
  addrinfo hints = {}, *list = nullptr;
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  EXPECT_EQ(0, getaddrinfo("127.0.0.9", "8080", &hints, &list));
  EXPECT(list && !list->ai_next);
  EXPECT_EQ(inet_addr("127.0.0.9"), address_in(list));
  EXPECT_EQ(htons(8080), ((sockaddr_in*)list->ai_addr)->sin_port);
  freeaddrinfo(list);
  hints.ai_family = AF_INET6;
  EXPECT_EQ(0, getaddrinfo("::1", nullptr, &hints, &list));
  EXPECT_EQ(AF_INET6, list->ai_family);
  freeaddrinfo(list);
  EXPECT_EQ(EAI_NONAME, getaddrinfo("no.number", nullptr, &hints, &list));
  EXPECT_EQ(EAI_NONAME, getaddrinfo(nullptr, nullptr, &hints, &list));
}

static void localhost() {
  addrinfo hints = {}, *list = nullptr;
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  EXPECT_EQ(0, getaddrinfo("localhost", nullptr, &hints, &list));
  if (list) {
    EXPECT_EQ(htonl(INADDR_LOOPBACK), address_in(list));
    freeaddrinfo(list);
  }
  hints.ai_flags = AI_PASSIVE;
  EXPECT_EQ(0, getaddrinfo(nullptr, "0", &hints, &list));
  EXPECT_EQ(htonl(INADDR_ANY), address_in(list));
  freeaddrinfo(list);
}

static void back_to_names() {
  sockaddr_in address = loopback(4321);
  guarded<char[64]> host;
  guarded<char[16]> service;
  EXPECT_EQ(0, getnameinfo((sockaddr*)&address, sizeof address, host.value, 64, service.value, 16,
                           NI_NUMERICHOST | NI_NUMERICSERV));
  EXPECT(!strcmp("127.0.0.1", host.value) && !strcmp("4321", service.value));
  EXPECT_EQ(0, getnameinfo((sockaddr*)&address, sizeof address, host.value, 64, nullptr, 0, 0));
  EXPECT_EQ(EAI_OVERFLOW, getnameinfo((sockaddr*)&address, sizeof address, host.value, 3, nullptr,
                                      0, NI_NUMERICHOST));
  EXPECT_EQ(EAI_FAMILY, getnameinfo((sockaddr*)&address, 3, host.value, 64, nullptr, 0, 0));
}

static void the_old_ones() {
  hostent* host = gethostbyname("127.0.0.3");
  EXPECT(host && host->h_length == 4);
  if (host) EXPECT_EQ(inet_addr("127.0.0.3"), *(in_addr_t*)host->h_addr_list[0]);
  host = gethostbyname("localhost");
  if (host) EXPECT_EQ(htonl(INADDR_LOOPBACK), *(in_addr_t*)host->h_addr_list[0]);
  EXPECT(host);
  char buffer[1024];
  hostent result, *found = nullptr;
  int error = 77;
  EXPECT_EQ(0, gethostbyname_r("127.0.0.4", &result, buffer, sizeof buffer, &found, &error));
  EXPECT(found == &result);
  EXPECT_EQ(0, gethostbyname2_r("::1", AF_INET6, &result, buffer, sizeof buffer, &found, &error));
  EXPECT(found && found->h_length == 16);
  EXPECT_EQ(ERANGE, gethostbyname_r("localhost", &result, buffer, 1, &found, &error));
  host = gethostbyname2("127.0.0.5", AF_INET);
  EXPECT(host && *(in_addr_t*)host->h_addr_list[0] == inet_addr("127.0.0.5"));
  in_addr_t address = htonl(INADDR_LOOPBACK);
  host = gethostbyaddr(&address, 4, AF_INET);
  EXPECT(host && !strcmp("localhost", host->h_name));
  EXPECT_EQ(0,
            gethostbyaddr_r(&address, 4, AF_INET, &result, buffer, sizeof buffer, &found, &error));
  EXPECT(found);
}

static void many_at_once() {
  std::atomic<int> good{0};
  Stopwatch watch;
  in_threads(20, [&](int i) {
    char name[32];
    snprintf(name, sizeof name, "127.0.1.%d", i);
    for (int round = 0; round < 5; round++) {
      addrinfo hints = {}, *list = nullptr;
      hints.ai_family = AF_INET;
      hints.ai_socktype = SOCK_STREAM;
      if (getaddrinfo(round % 2 ? "localhost" : name, "80", &hints, &list) == 0) {
        good += address_in(list) == (round % 2 ? htonl(INADDR_LOOPBACK) : inet_addr(name));
        freeaddrinfo(list);
      }
    }
  });
  EXPECT_EQ(100, good);
}

static void a_connection_by_name() {
  int server = listener();
  char port[8];
  snprintf(port, sizeof port, "%d", ntohs(address_of(server).sin_port));
  Thread client = after(20, [&] {
    addrinfo hints = {}, *list = nullptr;
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    EXPECT_EQ(0, getaddrinfo("localhost", port, &hints, &list));
    int fd = NEED(socket(list->ai_family, list->ai_socktype, list->ai_protocol));
    EXPECT_EQ(0, connect(fd, list->ai_addr, list->ai_addrlen));
    freeaddrinfo(list);
    EXPECT_EQ(5, send(fd, "named", 5, 0));
    close(fd);
  });
  int fd = NEED(accept(server, nullptr, nullptr));
  EXPECT_EQ(5, drain(fd, 100));
  close(fd);
  close(server);
}

int main() {
  from_both([] {
    numbers();
    localhost();
    back_to_names();
    the_old_ones();
    many_at_once();
    a_connection_by_name();
  });
  return finish();
}
