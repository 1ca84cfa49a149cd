# Threads, queues, conditions, time-outs, fibers, child processes, name look-ups.
require 'open3'
require 'socket'
require 'timeout'

queue = SizedQueue.new(5)
results = Queue.new
workers = Array.new(10) { Thread.new { while (number = queue.pop) do results << number * number end } }
(1..500).each { |number| queue << number }
queue.close
workers.each(&:join)
puts "sum #{Array.new(500) { results.pop }.sum}"

lock = Mutex.new
turned = ConditionVariable.new
turn = 0
said = +''
players = [0, 1].map do |me|
  Thread.new do
    100.times do
      lock.synchronize do
        turned.wait(lock) until turn % 2 == me
        said << me.to_s
        turn += 1
        turned.broadcast
      end
    end
  end
end
players.each(&:join)
puts said == '01' * 100 ? 'in turns' : said

begin
  Timeout.timeout(0.1) { sleep }
rescue Timeout::Error
  puts 'timed out'
end
sleeper = Thread.new { sleep }
sleep 0.01 until sleeper.stop?
sleeper.kill.join
puts sleeper.status.inspect
raised = Thread.new do
  Thread.current.report_on_exception = false
  sleep
rescue StandardError => e
  e.message
end
sleep 0.01 until raised.stop?
raised.raise('wake up')
puts raised.value

begin_ = Process.clock_gettime(Process::CLOCK_MONOTONIC)
Array.new(50) { Thread.new { sleep 0.2 } }.each(&:join)
puts "together #{Process.clock_gettime(Process::CLOCK_MONOTONIC) - begin_ < 5}"

numbers = Fiber.new { 3.times { |number| Fiber.yield number } }
puts Array.new(3) { numbers.resume }.inspect
puts Array.new(5) { |n| Thread.new { Open3.capture2('tr a-z A-Z', stdin_data: "child #{n}")[0] } }.map(&:value).inspect
puts Addrinfo.getaddrinfo('localhost', 80, :INET, :STREAM)[0].ip_address
reader, writer = IO.pipe
pid = fork { writer.puts Thread.new { 'thread of a child' }.value }
Process.wait(pid)
puts reader.gets, $?.exitstatus
trap('USR1') { puts 'caught USR1' }
Process.kill('USR1', Process.pid)
sleep 0.05
computing = Array.new(3) { Thread.new { (1..300_000).reduce(:+) } }
puts computing.map(&:value).uniq.inspect
