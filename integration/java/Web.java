import com.sun.net.httpserver.HttpServer;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpConnectTimeoutException;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** The platform's web server on a pool of threads, and its client: one by one, many at once, asynchronously; then files. */
public class Web {
    public static void main(String[] arguments) throws Exception {
        ExecutorService workers = Executors.newCachedThreadPool();
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 100);
        server.setExecutor(workers);
        server.createContext("/echo", exchange -> {
            byte[] body = exchange.getRequestBody().readAllBytes();
            exchange.sendResponseHeaders(200, body.length == 0 ? -1 : body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.createContext("/slow", exchange -> {
            sleep(100);
            exchange.sendResponseHeaders(200, 0);  // chunked
            for (int i = 0; i < 5; i++) {
                exchange.getResponseBody().write(("piece " + i + "\n").getBytes());
                exchange.getResponseBody().flush();
                sleep(5);
            }
            exchange.close();
        });
        server.createContext("/never", exchange -> sleep(60_000));
        server.start();
        URI base = URI.create("http://localhost:" + server.getAddress().getPort());
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

        byte[] large = new byte[3 << 20];
        for (int i = 0; i < large.length; i++) large[i] = (byte) (i * 31 ^ i >> 8);
        HttpResponse<byte[]> echoed = client.send(post(base, large), HttpResponse.BodyHandlers.ofByteArray());
        System.out.println("sync " + echoed.statusCode() + " " + java.util.Arrays.equals(large, echoed.body()));

        long begin = System.nanoTime();
        List<CompletableFuture<HttpResponse<String>>> answers = new ArrayList<>();
        for (int i = 0; i < 50; i++)
            answers.add(client.sendAsync(HttpRequest.newBuilder(base.resolve("/slow")).build(),
                                         HttpResponse.BodyHandlers.ofString()));
        int good = 0;
        for (var answer : answers)
            if (answer.get(30, TimeUnit.SECONDS).body().endsWith("piece 4\n")) good++;
        System.out.println("async " + good + " at once " + (System.nanoTime() - begin < 4_000_000_000L));

        ExecutorService pool = Executors.newFixedThreadPool(16);
        List<Callable<Integer>> jobs = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            byte[] body = new byte[i * 97];
            jobs.add(() -> client.send(post(base, body), HttpResponse.BodyHandlers.ofByteArray()).body().length);
        }
        long sum = 0;
        for (Future<Integer> job : pool.invokeAll(jobs)) sum += job.get();
        pool.shutdown();
        System.out.println("pool " + sum + " " + pool.awaitTermination(20, TimeUnit.SECONDS));

        try (InputStream lines = base.resolve("/slow").toURL().openStream()) {
            System.out.println("url " + new String(lines.readAllBytes()).lines().count());
        }
        try {
            client.send(HttpRequest.newBuilder(base.resolve("/never")).timeout(Duration.ofMillis(100)).build(),
                        HttpResponse.BodyHandlers.discarding());
        } catch (HttpConnectTimeoutException e) {
            System.out.println("no connection");
        } catch (HttpTimeoutException e) {
            System.out.println("timed out");
        }

        Path folder = Files.createTempDirectory(Path.of("."), "web");
        List<Thread> writers = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            Path file = folder.resolve("file" + i);
            Thread thread = new Thread(() -> {
                try {
                    Files.write(file, large);
                } catch (java.io.IOException e) {
                    e.printStackTrace();
                }
            });
            thread.start();
            writers.add(thread);
        }
        for (Thread writer : writers) writer.join();
        long different = 0;
        for (int i = 0; i < 8; i++) {
            Path file = folder.resolve("file" + i);
            if (!java.util.Arrays.equals(large, Files.readAllBytes(file))) different++;
            Files.delete(file);
        }
        Files.delete(folder);
        System.out.println("files " + different + " different");

        server.stop(0);
        workers.shutdownNow();
        System.out.println("workers " + workers.awaitTermination(20, TimeUnit.SECONDS));
    }

    static HttpRequest post(URI base, byte[] body) {
        return HttpRequest.newBuilder(base.resolve("/echo")).POST(HttpRequest.BodyPublishers.ofByteArray(body)).build();
    }

    static void sleep(int milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
