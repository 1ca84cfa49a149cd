// SPDX-License-Identifier: Apache-2.0
// A server on GNU libmicrohttpd with a thread per connection: POST /echo answers with its own body, anything else
// is 404. main sits in sigwait; SIGTERM stops the daemon (which joins its threads) and main returns 0.
#include <microhttpd.h>
#include <stdbool.h>

#include "serve.h"

struct body {
  char* data;
  size_t size;
};

static enum MHD_Result answer(struct MHD_Connection* connection, unsigned status, void* data, size_t size) {
  struct MHD_Response* response = MHD_create_response_from_buffer(size, data, MHD_RESPMEM_MUST_COPY);
  enum MHD_Result result = MHD_queue_response(connection, status, response);
  MHD_destroy_response(response);
  return result;
}

static enum MHD_Result keep(struct body* body, const char* data, size_t size) {
  char* larger = realloc(body->data, body->size + size);
  if (!larger) return MHD_NO;
  memcpy(larger + body->size, data, size);
  body->data = larger;
  body->size += size;
  return MHD_YES;
}

static enum MHD_Result handle(void* unused, struct MHD_Connection* connection, const char* url, const char* method,
                              const char* version, const char* data, size_t* size, void** state) {
  (void)unused;
  (void)version;
  if (!*state) return (*state = calloc(1, sizeof(struct body))) ? MHD_YES : MHD_NO;
  struct body* body = *state;
  if (*size) {
    size_t given = *size;
    *size = 0;
    return keep(body, data, given);
  }
  bool echo = strcmp(method, "POST") == 0 && strcmp(url, "/echo") == 0;
  if (!echo) return answer(connection, MHD_HTTP_NOT_FOUND, NULL, 0);
  return answer(connection, MHD_HTTP_OK, body->data, body->size);
}

static void completed(void* unused, struct MHD_Connection* connection, void** state,
                      enum MHD_RequestTerminationCode why) {
  (void)unused;
  (void)connection;
  (void)why;
  struct body* body = *state;
  if (body) free(body->data);
  free(body);
}

int main(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  sigset_t stop;
  int number;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop, NULL);
  struct MHD_Daemon* daemon = MHD_start_daemon(
      MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL, handle, NULL,
      MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_NOTIFY_COMPLETED, completed, NULL, MHD_OPTION_END);
  if (!daemon) die("MHD_start_daemon");
  printf("listening on %d\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
  fflush(stdout);
  sigwait(&stop, &number);
  MHD_stop_daemon(daemon);
  puts("stopped");
  return 0;
}
