# Threads, shared variables, queues, signals between threads.
use strict;
use warnings;
use threads;
use threads::shared;
use Thread::Queue;

my $jobs = Thread::Queue->new;
my $results = Thread::Queue->new;
my @workers = map {
    threads->create(sub {
        while (defined(my $number = $jobs->dequeue)) { $results->enqueue($number * $number) }
        return threads->tid;
    })
} 1 .. 8;
$jobs->enqueue(1 .. 400);
$jobs->end;
my $ended = grep { $_->join == $_->tid } @workers;
my $sum = 0;
$sum += $results->dequeue for 1 .. 400;
print "$ended workers, sum $sum\n";

my $turn : shared = 0;
my $said : shared = '';
my @players = map {
    my $me = $_;
    threads->create(sub {
        for (1 .. 50) {
            lock $turn;
            cond_wait $turn until $turn % 2 == $me;
            $said .= $me;
            $turn++;
            cond_broadcast $turn;
        }
    })
} 0 .. 1;
$_->join for @players;
print $said eq '01' x 50 ? "in turns\n" : "$said\n";

my $sleeper = threads->create(sub {
    local $SIG{KILL} = sub { threads->exit };
    sleep 1 while 1;
});
select undef, undef, undef, 0.1;
$sleeper->kill('KILL')->join;
my ($value) = threads->create({ context => 'list' }, sub { die "in a thread\n" if 0; return 'value' })->join;
print "$value\n";
{
    lock $turn;
    print cond_timedwait($turn, time + 1) ? "woken\n" : "timed out\n";
}
my $text = `echo from a child`;
print $text, $? >> 8, "\n";
