# WEBrick: a thread per connection, keep-alive. POST is answered with its own body. SIGINT ends it with status 0.
require 'webrick'

$stdout.sync = true
server = WEBrick::HTTPServer.new(BindAddress: '127.0.0.1', Port: 0, MaxClients: 1_000, AccessLog: [],
                                 Logger: WEBrick::Log.new($stderr, WEBrick::Log::ERROR),
                                 StartCallback: -> { puts "listening on #{server.listeners[0].addr[1]}" })
server.mount_proc('/echo') { |request, response| response.body = request.body }
trap('INT') { server.shutdown }
server.start
puts 'stopped'
