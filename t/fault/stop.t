# under load, a fast restart of Postgres, and SIGSTOP of a hive-worker for ten
# seconds

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Hive::Fault;

fault_test({
    name => 'restart Postgres', lasts => 4, recover => 5, inject => sub {
        my ($hive) = @_;
        $hive->restart_postgres;
    },
}, {
    name => 'SIGSTOP a hive-worker for 10 s', lasts => 10, inject => sub {
        my ($hive, $round) = @_;
        my @pids = $hive->worker_pids;
        my $pid = $pids[$round % @pids];
        kill(STOP => $pid) == 1 or die "nothing was stopped\n";
        sleep 10;
        kill CONT => $pid;
    },
});
done_testing;
