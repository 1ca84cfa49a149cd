# SPDX-License-Identifier: Apache-2.0
#
# The I/O half of the hook tests. "a|b" after PARKS: glibc or the compiler may call either.

# sockets
add_hook_test(recv SOURCES recv.cc PARKS recv)
