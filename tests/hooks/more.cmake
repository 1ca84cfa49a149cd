# SPDX-License-Identifier: Apache-2.0
#
# Further doors to calls that the other halves test: by their own names, so that each symbol has its test.

add_hook_test(exec_family)
add_hook_test(fork_kinds LIBS util PARKS read)
add_hook_test(open_checked)
add_hook_test(jumps)
add_hook_test(signal_doors PARKS read usleep)
add_hook_test(fcloseall)
