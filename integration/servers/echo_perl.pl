# Perl's threads: an interpreter per connection. SIGTERM ends it with status 0 and what it served.
use strict;
use warnings;
use threads stack_size => 262_144;
use threads::shared;
use IO::Socket::INET;

$| = 1;
my $connections : shared = 0;
my $bytes : shared = 0;
my $listener = IO::Socket::INET->new(Listen => 512, LocalAddr => '127.0.0.1', LocalPort => 0) or die "listen: $!";
$SIG{PIPE} = 'IGNORE';
$SIG{TERM} = sub {
    print "served $connections connections, $bytes bytes\n";
    require POSIX;
    POSIX::_exit(0);    # the detached threads are still there: exit would complain of them
};
print 'listening on ', $listener->sockport, "\n";

sub write_all {
    my ($guest, $data) = @_;
    for (my $done = 0; $done < length $data;) {
        my $written = syswrite($guest, $data, length($data) - $done, $done) or return 0;
        $done += $written;
    }
    return 1;
}

sub serve {
    my $guest = shift;
    my ($data, $size, $sum) = ('', 0, 0);
    while ($size = sysread($guest, $data, 16_384)) {
        last unless write_all($guest, $data);
        $sum += $size;
    }
    close $guest;
    lock $connections;
    $connections++;
    $bytes += $sum;
}

while () {
    my $guest = $listener->accept or next;
    threads->create(\&serve, $guest)->detach;
    close $guest;
}
