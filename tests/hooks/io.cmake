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
add_hook_test(socket_odd PARKS recv read accept)
add_hook_test(linger)

# descriptors
add_hook_test(pipe PARKS read write)
add_hook_test(vectors PARKS readv writev preadv2)
add_hook_test(fifo PARKS read)
add_hook_test(dup PARKS read recv)
add_hook_test(nonblock PARKS read)
add_hook_test(close PARKS read recv)
add_hook_test(low_numbers PARKS recv read poll select epoll_wait waitpid sem_wait clock_nanosleep)
add_hook_test(eventfd PARKS read write)
add_hook_test(timerfd PARKS read)
add_hook_test(signalfd PARKS read)
add_hook_test(inotify PARKS read poll)
add_hook_test(pty LIBS util PARKS read write poll)
add_hook_test(sendfile PARKS sendfile splice tee vmsplice read)
add_hook_test(file PARKS read)
add_hook_test(file_lock PARKS flock fcntl)
add_hook_test(ipc PARKS msgrcv msgsnd semop semtimedop mq_receive mq_send mq_timedreceive mq_timedsend)
# inside libc, past every symbol: the backstop or a hand-off carries it
add_hook_test(stdio)
add_hook_test(stuck PARKS read poll select epoll_wait)
add_hook_test(descriptor_eintr PARKS read readv preadv2 write writev)

# waiting
add_hook_test(poll PARKS poll ppoll)
add_hook_test(select PARKS select pselect)
add_hook_test(epoll PARKS epoll_wait epoll_pwait epoll_pwait2 recv)
add_hook_test(wait_many PARKS poll select epoll_wait read)
add_hook_test(out_of_band PARKS poll epoll_wait recv)
add_hook_test(wait_shared PARKS poll ppoll select epoll_wait read recv)
add_hook_test(wait_eintr PARKS poll ppoll select pselect epoll_wait epoll_pwait epoll_pwait2)

# sleep
add_hook_test(sleep PARKS sleep usleep nanosleep clock_nanosleep thrd_sleep)
add_hook_test(sleep_eintr PARKS sleep usleep nanosleep clock_nanosleep thrd_sleep pause)
add_hook_test(yield)

# names: resolved by helper threads or by parking inside, whichever
add_hook_test(names PARKS accept)

# other doors to the same calls
add_hook_test(second_doors PARKS read|__read write|__write send|__send poll|__poll select|__select
                                 nanosleep|__nanosleep)
add_hook_test(fortify FORTIFY PARKS read|__read_chk recv|__recv_chk recvfrom|__recvfrom_chk poll|__poll_chk
                                    ppoll|__ppoll_chk)
# Were the checking doors not imported, the test would prove nothing.
add_test(NAME hooks.fortify.imports COMMAND sh -c "for door in read pread pread64 recv recvfrom poll ppoll; do \
nm -D \"$1\" | grep -q \"U __\${door}_chk\" || { echo \"no __\${door}_chk\"; exit 1; }; done" sh
         $<TARGET_FILE:hook_test_fortify>)

# libev's other backends (CORO_LOOP), with the tests that arm, disarm and close most. io_uring: or what stands in for it.
if(TARGET coro)
  foreach(loop poll select io_uring)
    foreach(name stream_end close poll socket_timeout wait_many fork shared_socket)
      add_test(NAME hooks.${name}.coro.${loop}
               COMMAND /usr/bin/python3 ${HOOK_TEST_RUNNER} --env CORO_LOOP=${loop} --library $<TARGET_FILE:coro> --
                       $<TARGET_FILE:hook_test_${name}>)
      set_tests_properties(hooks.${name}.coro.${loop} PROPERTIES TIMEOUT 40 LABELS "hooks;coro")
    endforeach()
  endforeach()
endif()
