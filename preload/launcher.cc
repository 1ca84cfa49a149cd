// SPDX-License-Identifier: Apache-2.0
//
// coro, the launcher: reads a command line, turns its options into CORO_* variables, refuses in one
// line what cannot work, and executes the program with libcoro.so first in LD_PRELOAD. It stays no
// longer than that: the program keeps its pid, its arguments and its exit status.
#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "preload/examine.h"
#include "preload/program.h"
#include "preload/tables.h"

namespace coro {
namespace {

using Arguments = std::span<char* const>;

// The error line of the launcher; returns the exit status that goes with it.
int fail(int status, const std::string& why) {
  std::fprintf(stderr, "coro: %s\n", why.c_str());
  return status;
}

// What the command line asked for: variables to set, and parts to switch.
struct Request {
  std::vector<std::pair<std::string, std::string>> variables;
  std::string parts_off;  // "no-dns,no-signal", from --no-dns --no-signal
  bool parts_given = false;
  std::string problem;
};

std::string absolute(const std::string& path) {
  char here[4096];
  if (path.empty() || path[0] == '/' || !getcwd(here, sizeof here)) return path;
  return std::string(here) + "/" + path;
}

void take_option(Request& request, const OptionRow& row, std::string value) {
  if (value.empty() || !is_allowed(row, value)) {
    char room[512];
    request.problem =
        switch_of(row) + "=" + value + " is not allowed: " + std::string(allowed_values(row, room));
    return;
  }
  // The program may change its directory before it reports.
  if (row.type == "Text" && value != "stderr") value = absolute(value);
  if (row.name == "patch") request.parts_given = true;
  request.variables.emplace_back(variable_of(row), value);
}

// Takes --no-PART; false when it is none.
bool take_part(Request& request, const std::string& name) {
  for (std::string_view part : switch_rows()) {
    if (name != "--no-" + std::string(part)) continue;
    request.parts_off += (request.parts_off.empty() ? "no-" : ",no-") + std::string(part);
    return true;
  }
  return false;
}

// Takes one option off the front of `arguments`, with its value if that is a word of its own.
void take_argument(Request& request, Arguments& arguments) {
  std::string word = arguments[0];
  arguments = arguments.subspan(1);
  size_t equals = word.find('=');
  std::string name = word.substr(0, equals);
  if (take_part(request, word)) return;
  for (const OptionRow& row : option_rows()) {
    if (name != switch_of(row) && !(name == "--only" && row.name == "patch")) continue;
    if (equals != word.npos) return take_option(request, row, word.substr(equals + 1));
    if (const char* value = value_alone(row)) return take_option(request, row, value);
    if (arguments.empty()) break;
    std::string value = arguments[0];
    arguments = arguments.subspan(1);
    return take_option(request, row, value);
  }
  request.problem = "unknown option " + word + "; see coro --help";
}

Request take_options(Arguments& arguments) {
  Request request;
  while (!arguments.empty() && arguments[0][0] == '-' && request.problem.empty()) {
    if (std::string_view(arguments[0]) == "--") {
      arguments = arguments.subspan(1);
      break;
    }
    take_argument(request, arguments);
  }
  if (request.parts_given && !request.parts_off.empty())
    request.problem = "--only and --no-PART do not go together";
  if (!request.parts_off.empty()) request.variables.emplace_back("CORO_PATCH", request.parts_off);
  return request;
}

// libcoro.so: the one asked for, the one beside us (build tree), or the installed one.
std::string find_library() {
  const char* asked = std::getenv("CORO_LIBRARY");
  if (asked && *asked) return access(asked, R_OK) == 0 ? absolute(asked) : "";
  char self[4096];
  ssize_t size = readlink("/proc/self/exe", self, sizeof self);
  std::string here(self, size > 0 ? static_cast<size_t>(size) : 0);
  here.resize(here.find_last_of('/') == here.npos ? 0 : here.find_last_of('/'));
  char path[PATH_MAX];
  for (const char* place : {"/libcoro.so", "/../" CORO_LIBDIR "/libcoro.so"})
    if (realpath((here + place).c_str(), path) && access(path, R_OK) == 0) return path;
  return {};
}

// LD_PRELOAD with `library` first and whatever the user had after it.
std::string preload_list(const std::string& library) {
  std::string list = library;
  const char* had = std::getenv("LD_PRELOAD");
  std::string rest = had ? had : "";
  for (size_t at = 0; at < rest.size();) {
    size_t end = std::min(rest.find_first_of(" :", at), rest.size());
    std::string entry = rest.substr(at, end - at);
    if (!entry.empty() && entry != library) list += ":" + entry;
    at = end + 1;
  }
  return list;
}

int run(Arguments arguments) {
  Request request = take_options(arguments);
  if (!request.problem.empty()) return fail(exit_usage, request.problem);
  if (arguments.empty())
    return fail(exit_usage, "run what? coro run [option...] program [argument...]");
  for (const auto& [name, value] : request.variables) setenv(name.c_str(), value.c_str(), 1);

  std::string name = arguments[0];
  Program program = inspect_program(name);
  if (program.refusal) {
    if (!program.scripts.empty() && !program.binary.empty()) name += " (" + program.binary + ")";
    return fail(program.refusal, "cannot run " + name + ": " + program.why);
  }
  if (program.keeps_threads) {
    fail(0,
         name + " is a Go program, which drives kernel threads of its own: they stay as they are");
    setenv("CORO_PATCH", "no-thread", 1);
  }
  std::string library = find_library();
  if (library.empty())
    return fail(exit_usage, "libcoro.so is not where it should be: set CORO_LIBRARY");
  if (library.find_first_of(" :") != library.npos)
    return fail(exit_usage, "LD_PRELOAD cannot hold a path with a space or colon: " + library);
  setenv("LD_PRELOAD", preload_list(library).c_str(), 1);
  execvp(program.path.c_str(), arguments.data());  // a null pointer follows the last argument
  return fail(errno == ENOENT ? exit_not_found : exit_cannot_run,
              "cannot run " + name + ": " + std::strerror(errno));
}

int command(Arguments arguments) {
  std::string verb = arguments.empty() ? "" : arguments[0];
  Arguments rest = arguments.empty() ? arguments : arguments.subspan(1);
  bool markdown = rest.size() == 1 && std::string_view(rest[0]) == "--markdown";
  if (verb == "run") return run(rest);
  if (verb == "check" && rest.size() == 1) return examine(rest[0]);
  if (verb == "check") return fail(exit_usage, "check takes one program");
  if (verb == "options" && (rest.empty() || markdown)) return print_options(markdown), 0;
  if (verb == "profiles" && (rest.empty() || markdown)) return print_profiles(markdown), 0;
  if (verb == "calls" && (rest.empty() || markdown)) return print_calls(markdown), 0;
  if (verb == "--help" || verb == "-h" || verb == "help") return print_help(), 0;
  if (verb == "--version") return std::puts("coro " CORO_VERSION), 0;
  if (verb.empty()) return fail(exit_usage, "what shall I do? See coro --help");
  if (verb == "options" || verb == "profiles" || verb == "calls")
    return fail(exit_usage, verb + " takes --markdown only");
  return fail(exit_usage, "unknown command " + verb + "; did you mean: coro run " + verb + "?");
}

}  // namespace
}  // namespace coro

int main(int count, char** arguments) {
  return coro::command({arguments + (count > 0), static_cast<size_t>(count > 0 ? count - 1 : 0)});
}
