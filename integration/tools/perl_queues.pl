# System V message queues and semaphores between threads and a child process.
use strict;
use warnings;
use threads;
use threads::shared;
use IPC::SysV qw(IPC_PRIVATE IPC_RMID IPC_NOWAIT S_IRUSR S_IWUSR);
use IPC::Msg;
use IPC::Semaphore;
use POSIX ();

my $jobs = IPC::Msg->new(IPC_PRIVATE, S_IRUSR | S_IWUSR) or die "msgget: $!";
my $results = IPC::Msg->new(IPC_PRIVATE, S_IRUSR | S_IWUSR) or die "msgget: $!";
my $end = 2;
my @workers = map {
    threads->create(sub {
        my $done = 0;
        while ($jobs->rcv(my $number, 64, 0) != $end) {
            $results->snd(1, $number * $number);
            $done++;
        }
        return $done;
    })
} 1 .. 8;
my $child = fork // die "fork: $!";
if (!$child) {
    $jobs->snd(1, $_) for 1 .. 400;
    POSIX::_exit(0);
}
my $sum = 0;
for (1 .. 400) {
    $results->rcv(my $square, 64, 0);
    $sum += $square;
}
waitpid $child, 0;
print "child $?, sum $sum\n";
$jobs->snd($end, '') for @workers;
my $done = 0;
$done += $_->join for @workers;
print "$done jobs\n";
print defined $jobs->rcv(my $nothing, 64, 0, IPC_NOWAIT) ? "a message\n" : "none: $!\n";

my $turns = IPC::Semaphore->new(IPC_PRIVATE, 2, S_IRUSR | S_IWUSR) or die "semget: $!";
$turns->setall(1, 0);
my $said : shared = '';
my @players = map {
    my $me = $_;
    threads->create(sub {
        for (1 .. 50) {
            $turns->op($me, -1, 0) or die "semop: $!";
            $said .= $me;
            $turns->op(1 - $me, 1, 0) or die "semop: $!";
        }
    })
} 0 .. 1;
$_->join for @players;
print $said eq '01' x 50 ? "in turns\n" : "$said\n";

my $waiter = threads->create(sub { $jobs->rcv(my $never, 64, 0) // "$!" });
select undef, undef, undef, 0.1;
$jobs->remove;
print 'removed: ', $waiter->join, "\n";
$_->remove for $results, $turns;
