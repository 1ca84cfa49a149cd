# SPDX-License-Identifier: Apache-2.0
#
# Further doors to calls that the other halves test: by their own names, so that each symbol has its test.

add_hook_test(exec_family)
add_hook_test(fork_kinds LIBS util PARKS read)
add_hook_test(open_checked)
add_hook_test(jumps)
add_hook_test(signal_doors PARKS read usleep)
add_hook_test(signal_old PARKS read)
add_hook_test(libcs_threads PARKS aio_suspend NO_PARK syscall MOST_HAND_OFFS 8 LIBS rt)
add_hook_test(executable_stack LIBS -Wl,-z,execstack)
add_hook_test(fcloseall)

# Calls past the hooks: the backstop's.
add_hook_test(past_hooks BACKSTOPS ENV CORO_BACKSTOP=trap PARKS read write poll MOST_HAND_OFFS 8)
add_hook_test(inside_libc BACKSTOPS ENV CORO_BACKSTOP=trap PARKS read write|writev MOST_HAND_OFFS 8 LIBS resolv)
add_hook_test(started_processes ENV CORO_BACKSTOP=trap PARKS wait4|waitpid LIBS rt)
add_hook_test(never_stuck ENV CORO_HUBS=1)
add_hook_test(loader BACKSTOPS LIBS dl)
add_hook_test(past_create BACKSTOPS ENV CORO_BACKSTOP=trap PARKS read LIBS dl)
add_hook_test(malloc_lock ENV CORO_HUBS=1)
