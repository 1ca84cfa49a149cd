# Ruby's TCPServer with a Thread per connection. SIGTERM ends it with status 0 and what it served.
require 'socket'

$stdout.sync = true
connections = 0
bytes = 0
lock = Mutex.new
listener = TCPServer.new('127.0.0.1', 0)
listener.listen(512)
trap('TERM') { exit }
at_exit { puts "served #{connections} connections, #{bytes} bytes" }
puts "listening on #{listener.addr[1]}"

loop do
  Thread.start(listener.accept) do |guest|
    while (data = guest.readpartial(16_384))
      guest.write(data)
      lock.synchronize { bytes += data.bytesize }
    end
  rescue EOFError, SystemCallError
    nil
  ensure
    lock.synchronize { connections += 1 }
    guest.close
  end
end
