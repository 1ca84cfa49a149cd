# SPDX-License-Identifier: Apache-2.0
#
# The thread half of the hook tests: threads, locks, signals, processes.

# threads
add_hook_test(thread_create SOURCES thread_create.cc PARKS pthread_join)
add_library(hook_test_first_thread_module MODULE first_thread_module.cc)
target_compile_features(hook_test_first_thread_module PRIVATE cxx_std_20)
add_hook_test(first_thread SOURCES first_thread.cc ENV FIRST_THREAD_MODULE=$<TARGET_FILE:hook_test_first_thread_module>)
add_dependencies(hook_test_first_thread hook_test_first_thread_module)
add_hook_test(thread_join SOURCES thread_join.cc PARKS pthread_timedjoin_np pthread_clockjoin_np)
add_hook_test(thread_detach SOURCES thread_detach.cc)
add_hook_test(thread_exit SOURCES thread_exit.cc PARKS pthread_join)
add_hook_test(thread_exit_main SOURCES thread_exit_main.cc)
add_hook_test(thread_attr SOURCES thread_attr.cc)
add_hook_test(thread_stack SOURCES thread_stack.cc)
add_hook_test(thread_keys SOURCES thread_keys.cc)
add_hook_test(thread_local SOURCES thread_local.cc)
add_hook_test(thread_identity SOURCES thread_identity.cc)
add_hook_test(thread_schedule SOURCES thread_schedule.cc)
add_hook_test(join_from_afar SOURCES join_from_afar.cc)
add_hook_test(thread_once SOURCES thread_once.cc PARKS pthread_once)
add_hook_test(c11_threads SOURCES c11_threads.cc PARKS
              thrd_join thrd_sleep mtx_lock mtx_timedlock cnd_wait cnd_timedwait)
add_hook_test(thread_kill SOURCES thread_kill.cc PARKS read sem_wait)
add_hook_test(thread_sigmask SOURCES thread_sigmask.cc)

# cancellation
add_hook_test(cancel_rules SOURCES cancel_rules.cc)
add_hook_test(cancel_io SOURCES cancel_io.cc)
add_hook_test(cancel_no_points SOURCES cancel_no_points.cc PARKS sendfile flock read)
add_hook_test(cancel_sync SOURCES cancel_sync.cc PARKS pthread_cond_wait sem_wait pthread_join)

# locks
add_hook_test(mutex SOURCES mutex.cc PARKS pthread_mutex_lock)
add_hook_test(mutex_timed SOURCES mutex_timed.cc PARKS pthread_mutex_timedlock pthread_mutex_clocklock)
add_hook_test(mutex_robust SOURCES mutex_robust.cc PARKS pthread_mutex_lock)
add_hook_test(mutex_inheriting_shared PARKS pthread_mutex_lock)
add_hook_test(mutex_robust_death PARKS pthread_join)
add_hook_test(cond SOURCES cond.cc PARKS pthread_cond_wait)
add_hook_test(cond_kinds SOURCES cond_kinds.cc PARKS pthread_cond_wait)
add_hook_test(cond_timed SOURCES cond_timed.cc PARKS pthread_cond_timedwait pthread_cond_clockwait)
add_hook_test(cond_scale SOURCES cond_scale.cc PARKS pthread_cond_wait)
add_hook_test(rwlock SOURCES rwlock.cc PARKS
              pthread_rwlock_rdlock pthread_rwlock_wrlock pthread_rwlock_timedrdlock pthread_rwlock_timedwrlock
              pthread_rwlock_clockrdlock pthread_rwlock_clockwrlock)
add_hook_test(barrier_spin SOURCES barrier_spin.cc PARKS pthread_barrier_wait)
add_hook_test(sem SOURCES sem.cc PARKS sem_wait sem_timedwait sem_clockwait)
add_hook_test(shared_objects SOURCES shared_objects.cc)
add_hook_test(futex SOURCES futex.cc PARKS syscall)
add_hook_test(futex_pi SOURCES futex_pi.cc PARKS syscall)
add_hook_test(raw_calls SOURCES raw_calls.cc PARKS read poll nanosleep)
add_hook_test(kernel_threads SOURCES kernel_threads.cc PARKS pthread_mutex_lock sem_wait pthread_barrier_wait)
add_hook_test(trylock_spin SOURCES trylock_spin.cc)
add_hook_test(cpp_threads SOURCES cpp_threads.cc PARKS syscall pthread_cond_clockwait)
add_hook_test(cpp_async SOURCES cpp_async.cc PARKS pthread_join)

# signals
add_hook_test(signal_rules SOURCES signal_rules.cc)
add_hook_test(signal_table SOURCES signal_table.cc signal_table_waits.cc LIBS util rt PARKS
              read readv write writev splice tee recv recvfrom recvmsg recvmmsg send sendto sendmsg sendmmsg accept accept4
              connect open flock fcntl waitpid wait wait4 waitid poll ppoll select pselect epoll_wait epoll_pwait nanosleep
              clock_nanosleep pause sigsuspend sem_wait sem_timedwait pthread_mutex_lock pthread_cond_wait)
add_hook_test(signal_blocked PARKS poll usleep)
add_hook_test(signal_computing)
add_hook_test(signal_waits SOURCES signal_waits.cc PARKS sigtimedwait sigsuspend pause __sigpause)
add_hook_test(signal_jump SOURCES signal_jump.cc PARKS read recv poll pause)
add_hook_test(signal_timers SOURCES signal_timers.cc PARKS pause sem_wait)
add_hook_test(signal_timer_rearm SOURCES signal_timer_rearm.cc LIBS rt PARKS usleep)
add_hook_test(signal_owner PARKS usleep)
add_hook_test(signal_order SOURCES signal_order.cc PARKS read)
add_hook_test(signal_stack SOURCES signal_stack.cc PARKS read usleep)
add_hook_test(signal_masked_waits SOURCES signal_masked_waits.cc PARKS
              ppoll pselect epoll_pwait epoll_pwait2 sigsuspend)
add_hook_test(signal_timer_threads SOURCES signal_timer_threads.cc PARKS sigwaitinfo sem_wait)

# processes
add_hook_test(fork SOURCES fork.cc)
add_hook_test(fork_crowd SOURCES fork_crowd.cc)
add_hook_test(wait_child SOURCES wait_child.cc PARKS waitpid wait waitid wait4)
add_hook_test(process_run SOURCES process_run.cc)
add_hook_test(process_clean SOURCES process_clean.cc)
add_hook_test(process_exit SOURCES process_exit.cc)
add_hook_test(setxid SOURCES setxid.cc)
