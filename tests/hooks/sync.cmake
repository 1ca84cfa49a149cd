# SPDX-License-Identifier: Apache-2.0
#
# The thread half of the hook tests: threads, locks, signals, processes.

# threads
add_hook_test(thread_create SOURCES thread_create.cc PARKS pthread_join)
add_hook_test(thread_join SOURCES thread_join.cc PARKS pthread_timedjoin_np pthread_clockjoin_np)
add_hook_test(thread_detach SOURCES thread_detach.cc)
add_hook_test(thread_exit SOURCES thread_exit.cc PARKS pthread_join)
add_hook_test(thread_exit_main SOURCES thread_exit_main.cc)
add_hook_test(thread_attr SOURCES thread_attr.cc)
add_hook_test(thread_stack SOURCES thread_stack.cc)
add_hook_test(thread_keys SOURCES thread_keys.cc)
