// SPDX-License-Identifier: Apache-2.0
#include "preload/program.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

namespace coro {
namespace {

constexpr int most_scripts = 5;  // as the kernel: deeper #! chains fail with ELOOP

bool is_program_file(const std::string& path) {
  struct stat about {};
  if (stat(path.c_str(), &about) != 0) return false;
  if (S_ISREG(about.st_mode) && faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0)
    return true;
  errno = EACCES;  // execve(2) says so of directories too
  return false;
}

// The file that execvp(3) would run; empty with errno when there is none.
std::string find_program(const std::string& name) {
  if (name.find('/') != name.npos) return is_program_file(name) ? name : std::string();
  const char* list = std::getenv("PATH");
  std::istringstream directories(list ? list : "/bin:/usr/bin");
  int error = ENOENT;
  for (std::string directory; !name.empty() && std::getline(directories, directory, ':');) {
    std::string path = directory.empty() ? name : directory + "/" + name;
    if (is_program_file(path)) return path.find('/') == path.npos ? "./" + path : path;
    if (errno == EACCES) error = EACCES;
  }
  errno = error;
  return {};
}

// Words of the #! line of a file; none when it has no such line.
std::vector<std::string> script_line(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::array<char, 256> head{};  // BINPRM_BUF_SIZE: the kernel reads no further
  file.read(head.data(), head.size());
  std::string_view text(head.data(), static_cast<size_t>(file.gcount()));
  if (!text.starts_with("#!")) return {};
  std::istringstream words(std::string(text.substr(2, text.find('\n') - 2)));
  std::vector<std::string> line;
  for (std::string word; words >> word;) line.push_back(word);
  return line;
}

// The program named on the line of an `env` interpreter, past its options and assignments.
std::string program_of_env(const std::vector<std::string>& line) {
  for (size_t i = 1; i < line.size(); ++i) {
    if (line[i] == "-S" || line[i] == "-i" || line[i] == "-") continue;
    if (line[i].starts_with("-S")) return line[i].substr(2);
    if (!line[i].starts_with("-") && line[i].find('=') == line[i].npos) return line[i];
  }
  return {};
}

bool ends_with_name(const std::string& path, std::string_view name) {
  return path == name || path.ends_with("/" + std::string(name));
}

// env(1)'s exit status for an error of execve(2).
int status_of(int error) { return error == ENOENT ? exit_not_found : exit_cannot_run; }

void refuse(Program& program, int status, std::string why) {
  program.refusal = status;
  program.why = std::move(why);
}

// Follows #! lines until a file that is none, which becomes program.binary.
void follow_scripts(Program& program) {
  program.binary = program.path;
  for (int depth = 0;; ++depth) {
    std::vector<std::string> line = script_line(program.binary);
    bool plain_text = line.empty() && read_elf(program.binary).status == ElfStatus::not_elf;
    if (line.empty() && !plain_text) return;
    if (depth == most_scripts) return refuse(program, exit_cannot_run, "too many nested scripts");
    program.scripts.push_back(program.binary);
    std::string next = plain_text ? "/bin/sh" : line[0];  // execvp(3) tries the shell
    if (ends_with_name(next, "env") && !program_of_env(line).empty()) next = program_of_env(line);
    program.binary =
        plain_text || next == line[0] ? (is_program_file(next) ? next : "") : find_program(next);
    if (!program.binary.empty()) continue;
    return refuse(program, status_of(errno),
                  "the interpreter " + next + " of the script " + program.scripts.back() +
                      " cannot be run: " + std::strerror(errno));
  }
}

// Privileges: the kernel makes the loader ignore LD_PRELOAD, and rightly so.
void refuse_privileged(Program& program) {
  struct stat about {};
  if (stat(program.binary.c_str(), &about) != 0) return;
  if (about.st_mode & S_ISUID) return refuse(program, exit_cannot_run, "it is setuid");
  if ((about.st_mode & S_ISGID) && (about.st_mode & S_IXGRP))
    return refuse(program, exit_cannot_run, "it is setgid");
  if (getxattr(program.binary.c_str(), "security.capability", nullptr, 0) > 0)
    refuse(program, exit_cannot_run, "it has file capabilities");
}

// The loader must be glibc's, and export what a fiber's thread block is made with.
void refuse_other_libc(Program& program) {
  const std::string& loader = program.elf.interpreter;
  if (loader.find("ld-musl") != loader.npos)
    return refuse(program, exit_cannot_run, "its C library is musl; only glibc has what we need");
  if (!loader.ends_with("/ld-linux-x86-64.so.2"))
    return refuse(program, exit_cannot_run, "its loader " + loader + " is not glibc's");
  ElfReading reading = read_elf(loader);
  if (reading.status != ElfStatus::ok)
    return refuse(program,
                  reading.status == ElfStatus::unreadable ? exit_not_found : exit_cannot_run,
                  "its loader " + loader + ": " + reading.problem);
  for (const char* name : {"_dl_allocate_tls", "_dl_deallocate_tls", "__rseq_offset"})
    if (std::ranges::find(reading.elf.exports, name) == reading.elf.exports.end())
      return refuse(
          program, exit_cannot_run,
          std::string("its glibc has no ") + name + ": older than 2.35, or an unknown one");
}

void judge_binary(Program& program) {
  ElfReading reading = read_elf(program.binary);
  program.elf = std::move(reading.elf);
  if (reading.status == ElfStatus::unreadable && access(program.binary.c_str(), X_OK) == 0) {
    program.unread = true;
    return refuse_privileged(program);
  }
  if (reading.status != ElfStatus::ok) return refuse(program, exit_cannot_run, reading.problem);
  if (!program.elf.executable)
    return refuse(program, exit_cannot_run, "it is an ELF file, but no program");
  if (program.elf.interpreter.empty())
    return refuse(program, exit_cannot_run, "it is statically linked, so nothing can be preloaded");
  refuse_privileged(program);
  if (!program.refusal) refuse_other_libc(program);
  program.keeps_threads = program.elf.go;
}

}  // namespace

Program inspect_program(const std::string& name) {
  Program program;
  program.path = find_program(name);
  if (program.path.empty()) {
    refuse(program, status_of(errno), std::strerror(errno));
    return program;
  }
  follow_scripts(program);
  if (!program.refusal) judge_binary(program);
  return program;
}

std::vector<Library> libraries_of(const Program& program) {
  std::vector<Library> libraries;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return libraries;
  pid_t child = fork();
  if (child == 0) {
    const char* loader = program.elf.interpreter.c_str();
    dup2(ends[1], 1);
    unsetenv("LD_PRELOAD");
    execl(loader, loader, "--list", program.binary.c_str(), nullptr);
    _exit(exit_not_found);
  }
  close(ends[1]);
  FILE* lines = fdopen(ends[0], "r");
  char* line = nullptr;
  size_t room = 0;
  while (getline(&line, &room, lines) > 0) {
    char name[512], path[4096];  // "	libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f...)"
    if (std::sscanf(line, " %511s => %4095s", name, path) == 2) libraries.push_back({name, path});
  }
  std::free(line);
  std::fclose(lines);
  waitpid(child, nullptr, 0);
  return libraries;
}

std::string glibc_version(const Elf& libc) {
  int newest = 0;
  for (const std::string& version : libc.versions) {
    int minor = 0;
    if (std::sscanf(version.c_str(), "GLIBC_2.%d", &minor) == 1) newest = std::max(newest, minor);
  }
  return newest ? "2." + std::to_string(newest) : std::string();
}

}  // namespace coro
