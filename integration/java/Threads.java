import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.channels.AsynchronousCloseException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.Pipe;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import java.util.stream.IntStream;

/** What Java programs do with threads: each lesson prints one line, which must not depend on how threads are made. */
public class Threads {
    interface Lesson { Object run() throws Exception; }

    static void lesson(String name, Lesson lesson) throws Exception {
        Object result = lesson.run();
        System.out.println(name + ": " + result);
    }

    public static void main(String[] arguments) throws Exception {
        lesson("monitors", Threads::monitors);
        lesson("sleepers", Threads::sleepers);
        lesson("interrupts", Threads::interrupts);
        lesson("park", Threads::park);
        lesson("locks", Threads::locks);
        lesson("pools", Threads::pools);
        lesson("parallel stream", Threads::parallelStream);
        lesson("scheduled", Threads::scheduled);
        lesson("meetings", Threads::meetings);
        lesson("closed sockets", Threads::closedSockets);
        lesson("interrupted channels", Threads::interruptedChannels);
        lesson("stack overflow", Threads::stackOverflow);
        lesson("null pointers", Threads::nullPointers);
        lesson("collections beside parked threads", Threads::collections);
        lesson("child processes", Threads::children);
        lesson("thousand threads", Threads::thousand);
    }

    /** Turns of two threads by wait and notify, then a counter of eight threads under one monitor. */
    static Object monitors() throws Exception {
        Object table = new Object();
        StringBuffer said = new StringBuffer();
        int[] turn = {0};
        List<Thread> players = new ArrayList<>();
        for (int player = 0; player < 2; player++) {
            int me = player;
            players.add(started(() -> {
                for (int i = 0; i < 500; i++) {
                    synchronized (table) {
                        while (turn[0] != me) table.wait();
                        if (i < 3) said.append(me);
                        turn[0] = 1 - me;
                        table.notifyAll();
                    }
                }
            }));
        }
        join(players);
        int[] count = {0};
        List<Thread> counters = new ArrayList<>();
        for (int i = 0; i < 8; i++)
            counters.add(started(() -> {
                for (int n = 0; n < 20_000; n++) synchronized (count) { count[0]++; }
            }));
        join(counters);
        synchronized (table) { table.wait(20); }
        return said + " " + count[0];
    }

    /** A hundred sleepers sleep at the same time. */
    static Object sleepers() throws Exception {
        long begin = System.nanoTime();
        List<Thread> all = new ArrayList<>();
        AtomicLong early = new AtomicLong();
        for (int i = 0; i < 100; i++) all.add(started(() -> {
            long from = System.nanoTime();
            Thread.sleep(100);
            if (System.nanoTime() - from < 100_000_000L) early.incrementAndGet();
        }));
        join(all);
        long took = (System.nanoTime() - begin) / 1_000_000;
        return early + " early, together " + (took < 5_000);
    }

    static Object interrupts() throws Exception {
        Object monitor = new Object();
        CountDownLatch latch = new CountDownLatch(1);
        Thread never = started(latch::await);
        List<String> said = new ArrayList<>();
        said.add(interrupted(() -> Thread.sleep(60_000)));
        said.add(interrupted(() -> { synchronized (monitor) { monitor.wait(); } }));
        said.add(interrupted(() -> { synchronized (monitor) { monitor.wait(60_000); } }));
        said.add(interrupted(never::join));
        said.add(interrupted(latch::await));
        said.add(interrupted(() -> new LinkedBlockingQueue<Integer>().take()));
        said.add(interrupted(() -> new Semaphore(0).tryAcquire(60, TimeUnit.SECONDS)));
        said.add(interrupted(() -> { LockSupport.park(); if (Thread.interrupted()) throw new InterruptedException(); }));
        latch.countDown();
        never.join();
        Thread.currentThread().interrupt();
        boolean[] flags = {Thread.interrupted(), Thread.interrupted()};
        return said + " " + flags[0] + " " + flags[1];
    }

    static String interrupted(Work work) throws Exception {
        String[] said = {"nothing"};
        Thread thread = new Thread(() -> {
            try { work.run(); } catch (Exception e) { said[0] = e.getClass().getSimpleName(); }
        });
        thread.start();
        await(thread);
        thread.interrupt();
        thread.join();
        return said[0];
    }

    static Object park() throws Exception {
        AtomicInteger steps = new AtomicInteger();
        Thread[] pair = new Thread[2];
        for (int i = 0; i < 2; i++) {
            int me = i;
            pair[i] = new Thread(() -> {
                for (int n = me; n < 2_000; n += 2) {
                    while (steps.get() != n) LockSupport.park();
                    steps.incrementAndGet();
                    LockSupport.unpark(pair[1 - me]);
                }
            });
        }
        pair[0].start(); pair[1].start();
        pair[0].join(); pair[1].join();
        long begin = System.nanoTime();
        LockSupport.unpark(Thread.currentThread());
        LockSupport.park();
        LockSupport.parkNanos(30_000_000);
        return steps + " steps, " + (System.nanoTime() - begin >= 10_000_000);
    }

    static Object locks() throws Exception {
        ReentrantLock lock = new ReentrantLock(true);
        Condition notEmpty = lock.newCondition();
        ReentrantReadWriteLock both = new ReentrantReadWriteLock();
        List<Integer> box = new ArrayList<>();
        AtomicLong sum = new AtomicLong();
        int[] shared = {0};
        List<Thread> all = new ArrayList<>();
        for (int c = 0; c < 4; c++) all.add(started(() -> {
            for (int n = 0; n < 500; n++) {
                lock.lock();
                try {
                    while (box.isEmpty()) notEmpty.await(1, TimeUnit.SECONDS);
                    sum.addAndGet(box.remove(box.size() - 1));
                } finally { lock.unlock(); }
                both.readLock().lock();
                try { if (shared[0] < 0) throw new IllegalStateException(); } finally { both.readLock().unlock(); }
            }
        }));
        for (int p = 0; p < 2; p++) all.add(started(() -> {
            for (int n = 1; n <= 1_000; n++) {
                lock.lock();
                try { box.add(n); notEmpty.signal(); } finally { lock.unlock(); }
                both.writeLock().lock();
                try { shared[0]++; } finally { both.writeLock().unlock(); }
            }
        }));
        join(all);
        return sum + " " + shared[0] + " " + lock.tryLock(1, TimeUnit.MILLISECONDS);
    }

    static Object pools() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(20);
        List<Future<Integer>> futures = new ArrayList<>();
        for (int i = 0; i < 1_000; i++) {
            int n = i;
            futures.add(pool.submit(() -> { if (n % 50 == 0) Thread.sleep(5); return n * n; }));
        }
        long sum = 0;
        for (Future<Integer> future : futures) sum += future.get();
        Future<?> slow = pool.submit(() -> { Thread.sleep(60_000); return null; });
        String late = "in time";
        try { slow.get(20, TimeUnit.MILLISECONDS); } catch (TimeoutException e) { late = "timeout"; }
        boolean cancelled = slow.cancel(true);
        pool.shutdown();
        boolean ended = pool.awaitTermination(20, TimeUnit.SECONDS);
        CompletableFuture<String> chain = CompletableFuture.supplyAsync(() -> 6).thenApplyAsync(x -> x * 7)
            .thenCombineAsync(CompletableFuture.supplyAsync(() -> "!"), (x, mark) -> x + mark);
        return sum + " " + late + " " + cancelled + " " + ended + " " + chain.get(20, TimeUnit.SECONDS);
    }

    static Object parallelStream() {
        return IntStream.rangeClosed(1, 2_000_000).parallel().mapToLong(x -> (long) x * x % 7).sum();
    }

    static Object scheduled() throws Exception {
        ScheduledExecutorService clock = Executors.newScheduledThreadPool(2);
        CountDownLatch ticks = new CountDownLatch(10);
        clock.scheduleAtFixedRate(ticks::countDown, 0, 5, TimeUnit.MILLISECONDS);
        ScheduledFuture<String> later = clock.schedule(() -> "later", 50, TimeUnit.MILLISECONDS);
        boolean all = ticks.await(20, TimeUnit.SECONDS);
        String said = later.get();
        clock.shutdownNow();
        return all + " " + said + " " + clock.awaitTermination(20, TimeUnit.SECONDS);
    }

    static Object meetings() throws Exception {
        AtomicInteger rounds = new AtomicInteger();
        CyclicBarrier barrier = new CyclicBarrier(10, rounds::incrementAndGet);
        Phaser phaser = new Phaser(10);
        List<Thread> all = new ArrayList<>();
        for (int i = 0; i < 10; i++) all.add(started(() -> {
            for (int n = 0; n < 50; n++) barrier.await();
            for (int n = 0; n < 50; n++) phaser.arriveAndAwaitAdvance();
        }));
        join(all);
        Exchanger<String> exchanger = new Exchanger<>();
        SynchronousQueue<String> handed = new SynchronousQueue<>();
        Thread other = started(() -> handed.put(exchanger.exchange("from the other")));
        String got = exchanger.exchange("from main");
        String back = handed.take();
        other.join();
        return rounds + " " + phaser.getPhase() + " " + got + ", " + back;
    }

    /** close() by another thread ends accept, read and write; the virtual machine does it with dup2 and a signal. */
    static Object closedSockets() throws Exception {
        List<String> said = new ArrayList<>();
        ServerSocket listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        Socket client = new Socket(InetAddress.getLoopbackAddress(), listener.getLocalPort());
        listener.accept();
        client.setSoTimeout(30);
        said.add(outcome(() -> client.getInputStream().read()));
        client.setSoTimeout(0);
        said.add(closed(client, () -> client.getInputStream().read()));
        byte[] large = new byte[1 << 20];
        try (Socket silent = new Socket(InetAddress.getLoopbackAddress(), listener.getLocalPort())) {
            Socket full = listener.accept();
            said.add(closed(full, () -> { while (true) full.getOutputStream().write(large); }));
        }
        said.add(closed(listener, listener::accept));
        ServerSocket timed = new ServerSocket(0);
        timed.setSoTimeout(30);
        said.add(outcome(timed::accept));
        timed.setSoTimeout(60_000);
        said.add(closed(timed, timed::accept));
        return said;
    }

    static String closed(AutoCloseable what, Work work) throws Exception {
        String[] said = {""};
        Thread thread = started(() -> said[0] = outcome(work));
        Thread.sleep(50);
        what.close();
        thread.join();
        return said[0];
    }

    static String outcome(Work work) {
        try {
            work.run();
            return "nothing";
        } catch (SocketTimeoutException e) {
            return "timeout";
        } catch (SocketException e) {
            return e.getMessage();
        } catch (Exception e) {
            return e.getClass().getSimpleName();
        }
    }

    static Object interruptedChannels() throws Exception {
        Pipe pipe = Pipe.open();
        String[] said = {"", ""};
        Thread reader = started(() -> said[0] = outcome(() -> pipe.source().read(ByteBuffer.allocate(10))));
        Thread.sleep(50);
        reader.interrupt();
        reader.join();
        try (ServerSocket listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
             SocketChannel channel = SocketChannel.open(listener.getLocalSocketAddress())) {
            Thread other = started(() -> said[1] = outcome(() -> channel.read(ByteBuffer.allocate(10))));
            Thread.sleep(50);
            AutoCloseable end = channel;
            end.close();
            other.join();
        }
        return List.of(said);
    }

    static int depth(int n) { return n < 0 ? n : 1 + depth(n + 1); }

    /** The virtual machine finds the end of a stack by guard pages of its own and a handler of SIGSEGV. */
    static Object stackOverflow() throws Exception {
        AtomicInteger caught = new AtomicInteger();
        List<Thread> all = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            Runnable deep = () -> {
                for (int n = 0; n < 3; n++) {
                    try { depth(0); } catch (StackOverflowError e) { caught.incrementAndGet(); }
                    try { Thread.sleep(1); } catch (InterruptedException e) { return; }
                }
            };
            Thread thread = i % 2 == 0 ? new Thread(deep) : new Thread(null, deep, "small", 256 << 10);
            thread.start();
            all.add(thread);
        }
        join(all);
        return caught;
    }

    static Object nullPointers() throws Exception {
        AtomicInteger caught = new AtomicInteger();
        List<Thread> all = new ArrayList<>();
        for (int i = 0; i < 4; i++) all.add(started(() -> {
            int[][] rows = new int[2][];
            rows[0] = new int[1];
            for (int n = 0; n < 50_000; n++)
                try { rows[n % 1000 == 999 ? 1 : 0][0]++; } catch (NullPointerException e) { caught.incrementAndGet(); }
        }));
        join(all);
        return caught;
    }

    static Object collections() throws Exception {
        Object never = new Object();
        List<Thread> parked = new ArrayList<>();
        for (int i = 0; i < 50; i++) {
            byte[] mine = {(byte) i};
            Thread thread = new Thread(() -> {
                synchronized (never) {
                    try { never.wait(); } catch (InterruptedException e) { /* mine is still there */ }
                }
                if (mine.length != 1) System.out.println("lost");
            });
            thread.start();
            parked.add(thread);
        }
        List<Thread> busy = new ArrayList<>();
        AtomicLong kept = new AtomicLong();
        for (int i = 0; i < 4; i++) busy.add(started(() -> {
            ArrayList<byte[]> some = new ArrayList<>();
            for (int n = 0; n < 20_000; n++) {
                some.add(new byte[1_000]);
                if (some.size() > 100) some.clear();
            }
            kept.addAndGet(some.size());
        }));
        for (int i = 0; i < 3; i++) System.gc();
        join(busy);
        for (Thread thread : parked) thread.interrupt();
        join(parked);
        return kept;
    }

    static Object children() throws Exception {
        List<Thread> all = new ArrayList<>();
        ConcurrentSkipListSet<String> said = new ConcurrentSkipListSet<>();
        for (int i = 0; i < 5; i++) {
            int n = i;
            all.add(started(() -> {
                Process child = new ProcessBuilder("sh", "-c", "read word; echo $word " + n + "; exit " + n).start();
                child.getOutputStream().write("hello\n".getBytes());
                child.getOutputStream().close();
                String line = new String(child.getInputStream().readAllBytes()).trim();
                said.add(line + " " + child.waitFor());
            }));
        }
        join(all);
        Process sleeper = new ProcessBuilder("sleep", "60").start();
        boolean ended = sleeper.waitFor(20, TimeUnit.MILLISECONDS);
        sleeper.destroy();
        return said + " " + ended + " " + sleeper.waitFor();
    }

    static Object thousand() throws Exception {
        ThreadLocal<Integer> mine = new ThreadLocal<>();
        AtomicLong sum = new AtomicLong();
        CountDownLatch all = new CountDownLatch(1_000);
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 1_000; i++) {
            int n = i;
            threads.add(started(() -> {
                mine.set(n);
                all.countDown();
                all.await();
                sum.addAndGet(mine.get());
            }));
        }
        join(threads);
        return sum;
    }

    // ---- helpers ----

    interface Work { void run() throws Exception; }

    static Thread started(Work work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (Exception e) {
                e.printStackTrace();
            }
        });
        thread.start();
        return thread;
    }

    static void join(List<Thread> threads) throws InterruptedException {
        for (Thread thread : threads) thread.join();
    }

    /** Until it waits for something. */
    static void await(Thread thread) throws InterruptedException {
        while (thread.getState() == Thread.State.NEW || thread.getState() == Thread.State.RUNNABLE) Thread.sleep(1);
    }
}
