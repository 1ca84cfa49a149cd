# SPDX-License-Identifier: Apache-2.0
#
# The I/O half of the hook tests. "a|b" after PARKS: either of them.

# sockets
add_hook_test(socket PARKS recv)
add_hook_test(accept PARKS accept accept4 recv)
add_hook_test(connect PARKS connect poll)
add_hook_test(recv PARKS recv send)
add_hook_test(socket_timeout PARKS recv read readv recvfrom recvmsg send write writev sendto sendmsg)
add_hook_test(datagram PARKS recv recvfrom read send sendto write)
add_hook_test(message PARKS recvmsg sendmsg read recv)
add_hook_test(mmsg PARKS recvmmsg sendmmsg)
add_hook_test(stream_end PARKS recv send)
add_hook_test(socket_eintr
              PARKS recv recvfrom recvmsg recvmmsg read readv send sendto sendmsg write writev accept accept4
                    connect)
add_hook_test(socket_restart PARKS recv recvfrom recvmsg read readv send write accept)
add_hook_test(shared_socket PARKS recv read write)

# descriptors
add_hook_test(pipe PARKS read write)
add_hook_test(vectors PARKS readv writev preadv2)
add_hook_test(fifo PARKS read)
add_hook_test(dup PARKS read recv)
add_hook_test(nonblock PARKS read)
add_hook_test(close PARKS read recv)
add_hook_test(eventfd PARKS read write)
add_hook_test(timerfd PARKS read)
add_hook_test(signalfd PARKS read)
add_hook_test(inotify PARKS read poll)
add_hook_test(pty LIBS util PARKS read write poll)
add_hook_test(sendfile PARKS sendfile splice tee vmsplice read)
add_hook_test(file PARKS read)
add_hook_test(file_lock PARKS flock fcntl)
add_hook_test(descriptor_eintr PARKS read readv preadv2 write writev)

# waiting
add_hook_test(poll PARKS poll ppoll)
add_hook_test(select PARKS select pselect)
add_hook_test(epoll PARKS epoll_wait epoll_pwait epoll_pwait2 poll recv)
