import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.concurrent.atomic.AtomicLong;

/** A blocking server with a thread per connection that sends back what it gets. Each piece costs a new array, so that the collector has work. */
public class EchoServer {
    static final AtomicLong connections = new AtomicLong();
    static final AtomicLong bytes = new AtomicLong();

    public static void main(String[] arguments) throws IOException {
        Runtime.getRuntime().addShutdownHook(new Thread(() ->
            System.out.println("served " + connections.get() + " connections, " + bytes.get() + " bytes")));
        ServerSocket listener = new ServerSocket(0, 1024, InetAddress.getLoopbackAddress());
        System.out.println("listening on " + listener.getLocalPort());
        for (;;) {
            Socket guest = listener.accept();
            new Thread(() -> serve(guest), "guest-" + connections.incrementAndGet()).start();
        }
    }

    static void serve(Socket guest) {
        try (guest) {
            guest.setTcpNoDelay(true);
            InputStream in = guest.getInputStream();
            OutputStream out = guest.getOutputStream();
            byte[] buffer = new byte[8192];
            for (int size; (size = in.read(buffer)) > 0;) {
                byte[] answer = new byte[size];
                System.arraycopy(buffer, 0, answer, 0, size);
                out.write(answer);
                bytes.addAndGet(size);
            }
        } catch (IOException gone) {
            // The guest hung up.
        }
    }
}
